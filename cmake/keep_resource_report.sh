#!/bin/sh
# A compiler launcher of CMake: runs the CUDA compiler and keeps what ptxas -v says of each kernel (registers, shared memory,
# spills) beside the object, as OBJECT.resources. Warnings and errors are printed as they would be without it.
object= previous=
for argument; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
[ -n "$object" ] || exec "$@"
"$@" 2>"$object.resources.part"
status=$?
grep -v -e '^ptxas info' -e '^ *[0-9][0-9]* bytes stack frame' "$object.resources.part" >&2
if [ "$status" -eq 0 ]; then
  mv -f "$object.resources.part" "$object.resources"
else
  rm -f "$object.resources.part"
fi
exit "$status"
