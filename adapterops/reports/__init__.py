"""What a person sees: figures, a diagnosis in plain language, and the page that holds them."""
