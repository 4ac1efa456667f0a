#!/usr/bin/env bash
# Packs the release build into a relocatable archive for machines with nothing of Retort's but a Torch: x86-64
# with the C and C++ run-time of Debian 12 (tested) or newer.
#   deploy/bundle.sh [OUTPUT.tar.gz]        default: build/retort.tar.gz
# In it, under retort/: bin/ (retort starts as it is; the programs that compute find Torch first, see
# deploy/bundle/find-torch.sh), libexec/ (with the GPU plug-in, if this build has it), lib/ (every shared library but
# Torch's and the C and C++ run-time's), licenses/, deploy/ (mpirun.sh, gpu-check.sh), examples/, docs/, README.md, LICENSE.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() { printf 'bundle: %s\n' "$*" >&2; exit 1; }
output=$(realpath -m -- "${1:-$top/build/retort.tar.gz}")
torch_programs=(retort-worker retort-conformance retort-gpu-test decode_bench train_bench)
plain_programs=(retort quickstart-data)
plugin=$top/build/bin/libretort_cuda.so

"$top/deploy/build.sh" release "${torch_programs[@]}" "${plain_programs[@]}"
if grep -q '^build .*libretort_cuda.so:' "$top/build/build.ninja"; then "$top/deploy/build.sh" release retort_cuda; fi
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
bundle=$staging/retort
mkdir -p "$bundle"/{bin,libexec,lib,licenses,deploy}

# What the machine has for certain, at least as new as Debian 12's, or brings with its Torch.
of_the_machine='^(ld-linux-.*|lib(c|m|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s)\.so\..*)$'
of_torch='^lib(torch|c10|gomp|cudart|cupti|cuda).*'
copy_libraries() {  # PROGRAM: the shared libraries it needs, and the licenses of their packages.
  local name path package
  while read -r name path; do
    [ -e "$path" ] || die "$1 needs $name, which is not here; run deploy/setup.sh"
    [[ $name =~ $of_the_machine || $name =~ $of_torch || -e $bundle/lib/$name ]] && continue
    path=$(readlink -f -- "$path")
    install -m 644 -- "$path" "$bundle/lib/$name"
    package=$(dpkg-query -S "*/${path##*/}" | sed -n '1s/:.*//p') || die "no Debian package owns $path"
    cp -- "/usr/share/doc/$package/copyright" "$bundle/licenses/$package"
  done < <(ldd "$1" | awk '$2 == "=>" {print $1, ($3 == "not" ? "" : $3)}')
}
copy_program() {  # PROGRAM TARGET
  install -m 755 -s -- "$1" "$2"
  # Of the older kind, which also serves the libraries of libraries, and before LD_LIBRARY_PATH.
  patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$2"
}
built() { local file; for file in "$top"/build/{bin,bench}/"$1"; do [ ! -e "$file" ] || echo "$file"; done; }
for name in "${torch_programs[@]}" "${plain_programs[@]}"; do copy_libraries "$(built "$name")"; done
for name in "${plain_programs[@]}"; do copy_program "$(built "$name")" "$bundle/bin/$name"; done
for name in "${torch_programs[@]}"; do
  copy_program "$(built "$name")" "$bundle/libexec/$name"
  sed "s/@TORCH_VERSION@/$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' "$top/deploy/wheels.lock")/" \
    "$top/deploy/bundle/find-torch.sh" >"$bundle/bin/$name"
  chmod 755 "$bundle/bin/$name"
done
strip --strip-unneeded "$bundle"/lib/*
# Beside the programs that load it. Its libraries are theirs, or those of a Torch with CUDA.
if [ -e "$plugin" ]; then
  install -m 644 -s -- "$plugin" "$bundle/libexec/"
  while read -r name; do
    [[ $name =~ $of_the_machine || $name =~ $of_torch || -e $bundle/lib/$name ]] || die "$plugin needs $name, which no program brings"
  done < <(readelf -d "$plugin" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
else
  echo "bundle: without the GPU plug-in: this build has none (cuda_runtime.h and nccl.h were not there)" >&2
fi
# A library with a path of its own would not look into the program's.
for library in "$bundle"/lib/*; do patchelf --remove-rpath "$library"; done
cp -- "$top/deploy/mpirun.sh" "$top/deploy/gpu-check.sh" "$bundle/deploy/"
install -D -m 755 -- "$top/bench/gpu_peer.py" "$bundle/bench/gpu_peer.py"
cp -r -- "$top/examples" "$top/docs" "$top/README.md" "$top/LICENSE" "$bundle/"

mkdir -p "$(dirname "$output")"
tar -C "$staging" --sort=name --owner=0 --group=0 --numeric-owner -czf "$output.partial" retort
mv -- "$output.partial" "$output"
printf 'bundle: %s, %d MB; unpack it anywhere and start retort/bin/retort\n' "$output" "$(du -m "$output" | cut -f1)"
