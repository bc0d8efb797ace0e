"""Who asks: the read-only Flask server, its search, ranking, filters, metrics and web page."""
