"""Makes the programs that measure: Wingbeat from this checkout, the peers from their published packages.

What cannot be made here (no compiler for CUDA, a package that is not installed) is absent with a reason, not an error.
"""
import json, os, shutil, subprocess, sys
import engines, turns

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
# Programs by the names that --programs finds them under.
FILES = {turns.OURS: "wingbeat", "llamacpp": "bench-llamacpp-cpu", "llamacpp-cuda": "bench-llamacpp-cuda",
         "llamacpp-vulkan": "bench-llamacpp-vulkan", "webrwkv": "bench-web-rwkv", "quantize": "quantize-llamacpp"}
# Engine: package of the workspace, features, and a program without which it cannot be built.
PACKAGES = {
    "llamacpp": ("bench-llamacpp", "openmp", "cmake"),
    "llamacpp-cuda": ("bench-llamacpp", "cuda", "nvcc"),
    "llamacpp-vulkan": ("bench-llamacpp", "vulkan", "glslc"),
    "webrwkv": ("bench-web-rwkv", None, None),
}
# The third peer's packages of Python.
PIP = ("rwkv", "torch", "numpy")


def found_in(folder, wanted):
    """Programs that lie in a folder: {name: path or None}, and why others are absent."""
    paths, absent = {}, {}
    for name in wanted:
        path = os.path.join(folder, FILES.get(name, name))
        if os.path.isfile(path):
            paths[name] = path
        else:
            absent[name] = f"no {os.path.basename(path)} among the programs"
    return paths, absent


def built(wanted):
    """Builds programs: {name: path}, and why others are absent."""
    paths, absent = {}, {}
    for name in wanted:
        if name == turns.OURS:
            made, error = cargo(ROOT, "wingbeat-cli", None, "wingbeat")
        elif name == "quantize":
            made, error = cargo(HERE, "bench-llamacpp", "openmp", "quantize-llamacpp", needs="cmake")
        else:
            package, features, needs = PACKAGES[name]
            made, error = cargo(HERE, package, features, package, needs)
        if made:
            paths[name] = made
        else:
            absent[name] = error
    return paths, absent


def cargo(folder, package, features, program, needs=None):
    """Builds one program in release; its path, or why there is none."""
    if needs and not shutil.which(needs):
        return None, f"not built: no {needs}"
    env = dict(os.environ)
    line = ["cargo", "build", "--release", "--locked", "-p", package, "--bin", program, "--message-format=json-render-diagnostics"]
    if features:
        # Features of one package exclude each other's programs: a folder each.
        target = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(folder, "target")), features)
        line += ["--features", features, "--target-dir", target]
        # What compiles llama.cpp for this processor. RWKV has no attention, whose kernels take most of CUDA's build.
        env["RUSTFLAGS"] = f"{env.get('RUSTFLAGS', '')} -C target-cpu=native".strip()
        env.setdefault("GGML_CUDA_FA", "OFF")
    print(f"building {package}{f' ({features})' if features else ''}", file=sys.stderr)
    try:
        # What the compiler has to say goes to the terminal.
        done = subprocess.run(line, cwd=folder, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env)
    except OSError as error:
        return None, f"not built: cargo: {error.strerror}"
    if done.returncode != 0:
        return None, f"not built: cargo ended with exit code {done.returncode}"
    for text in done.stdout.splitlines():
        message = json.loads(text)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == program and message.get("executable"):
            return message["executable"], None
    return None, "not built: cargo made no program"


def python_peer():
    """The command that measures the package `rwkv`, or why there is none."""
    python = os.environ.get("WINGBEAT_BENCH_PYTHON", sys.executable)
    line = [python, "-c", "import " + ", ".join(PIP)]
    try:
        done = subprocess.run(line, capture_output=True, stdin=subprocess.DEVNULL)
    except OSError as error:
        return None, f"{os.path.basename(python)}: {error.strerror}"
    if done.returncode != 0:
        return None, f"{turns.last_words(line, done.stderr)} (pip install {' '.join(PIP)})"
    return [python, os.path.join(HERE, "peers", "rwkv_pip.py")], None


def all_engines(kind, programs, without):
    """Every engine of a kind of device, with its program or a reason, Wingbeat last; and what quantizes."""
    keys = [key for key in engines.of_kind(kind) if key not in without and key != "rwkv"]
    wanted = [turns.OURS, *keys, "quantize"]
    paths, absent = found_in(programs, wanted) if programs else built(wanted)
    found = [engines.PEERS[key](key, paths.get(key), absent.get(key)) for key in keys]
    if "rwkv" not in without:
        found.append(engines.RwkvPip("rwkv", *python_peer()))
    found.append(engines.Wingbeat(turns.OURS, paths.get(turns.OURS), absent.get(turns.OURS)))
    return found, paths.get("quantize")
