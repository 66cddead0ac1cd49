"""The thesis's tables beside measured results, and scores of objects and templates."""
