"""The methods. A file here is found by itself."""
