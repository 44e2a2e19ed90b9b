"""What a merged model is: which updates are in it, how strongly, how they were rounded."""
