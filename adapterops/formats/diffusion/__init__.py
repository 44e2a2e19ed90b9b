"""Adapters of image and video models: the files of kohya, LyCORIS, diffusers, ai-toolkit, musubi and their kin."""
