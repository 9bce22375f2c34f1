#!/bin/sh
# Makes services/common/blkcolo/v1 from the protos, with the pinned tools of the
# environment (PYTHON names its interpreter). The result is committed.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
out=../services/common
bin=$(dirname "$(command -v "$python")")
rm -rf "$out/blkcolo/v1"
mkdir -p "$out/blkcolo/v1"
printf '"""Generated from proto/blkcolo/v1 by proto/generate.sh."""\n' >"$out/blkcolo/v1/__init__.py"
PATH="$bin:$PATH" "$python" -m grpc_tools.protoc -I . \
	--python_out="$out" --mypy_out="quiet:$out" blkcolo/v1/*.proto
# gRPC code only for files that define a service.
PATH="$bin:$PATH" "$python" -m grpc_tools.protoc -I . \
	--grpc_python_out="$out" --mypy_grpc_out="quiet:$out" \
	$(grep -l '^service ' blkcolo/v1/*.proto)
