"""`blkcolo dump`: everything that helps to understand a fault, and no secret."""
