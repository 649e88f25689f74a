"""Makes Python of `proto/` where it isn't made yet, and puts it where `import leasebridge.v1...` finds it.

    import stubs  # first of all
    from leasebridge.v1 import link_pb2
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"
OUT = HERE / ".stubs"


def make():
    import importlib.resources
    from grpc_tools import protoc

    OUT.mkdir(exist_ok=True)
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    common = importlib.resources.files("grpc_tools") / "_proto"
    flags = [f"-I{PROTO}", f"-I{common}", f"--python_out={OUT}", f"--grpc_python_out={OUT}"]
    if protoc.main(["protoc", *flags, *sources]) != 0:
        sys.exit("proto/ doesn't compile")


def are_fresh():
    made = OUT / "leasebridge" / "v1" / "link_pb2_grpc.py"
    newest = max(path.stat().st_mtime for path in PROTO.rglob("*.proto"))
    return made.exists() and made.stat().st_mtime >= newest


if not are_fresh():
    make()
sys.path.insert(0, str(OUT))
