"""The methods that R2O is compared with, each with the parts that only it has."""
