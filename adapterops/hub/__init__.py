"""The Hugging Face Hub: references to what lies there, read as far as needed; pushing; model cards.

The only part that imports huggingface_hub, and only when the Hub is asked: nothing local waits for it.
"""
