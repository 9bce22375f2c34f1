"""Generated from proto/blkcolo/v1 by proto/generate.sh."""
