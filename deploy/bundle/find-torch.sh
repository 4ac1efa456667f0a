#!/bin/sh
# Starts the program of the same name that lies in ../libexec, with LibTorch in the library path: the one of
# RETORT_TORCH (a folder that holds torch/, or torch/ itself), or else of the first python3 in PATH that has it.
set -eu
here=$(dirname -- "$(readlink -f -- "$0")")
name=$(basename -- "$0")
wanted=@TORCH_VERSION@
die() { printf '%s: %s\n' "$name" "$1" >&2; exit 2; }

torch=${RETORT_TORCH:-}
if [ -z "$torch" ]; then
  command -v python3 >/dev/null ||
    die "no python3 in PATH to ask for LibTorch; set RETORT_TORCH to the folder of a torch $wanted (site-packages/torch)"
  torch=$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")')
  [ -n "$torch" ] ||
    die "$(command -v python3) has no torch; install it (pip install torch==$wanted), or set RETORT_TORCH to the folder of one (site-packages/torch)"
elif [ -d "$torch/torch/lib" ]; then
  torch=$torch/torch
fi
[ -e "$torch/lib/libtorch_cpu.so" ] || die "$torch holds no lib/libtorch_cpu.so; expected the folder of a torch $wanted"
found=$(sed -n "s/^__version__ = '\([0-9.]*\).*/\1/p" "$torch/version.py" 2>/dev/null || true)
[ -z "$found" ] || [ "$found" = "$wanted" ] ||
  die "$torch is torch $found; this build needs $wanted"
path=$torch/lib
for lib in "$torch"/../nvidia/*/lib; do
  [ -d "$lib" ] && path=$path:$lib
done
LD_LIBRARY_PATH=$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$here/../libexec/$name" "$@"
