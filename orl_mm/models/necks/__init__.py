"""What turns the features of a backbone into embeddings."""
