#!/usr/bin/env bash
# The fake provider as the official Node clients understand it.
source "$(dirname "${BASH_SOURCE[0]}")/support.bash"
exec tests/fake_provider/sdk_check.sh "$packages"
