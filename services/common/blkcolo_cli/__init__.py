"""The blkcolo command."""
