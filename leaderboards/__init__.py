"""Records to tables, statistics and the web page. Nothing here imports torch."""
