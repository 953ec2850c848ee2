"""Extended captions: longer answers for data sets that have none, from a model or from what is known of the image."""
