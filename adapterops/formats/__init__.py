"""The grammar of tensor names, and where scales live."""
