#!/usr/bin/env python3
"""Makes the lab's images without Nix and without a registry: an archive for `docker load`, from
programs on this machine. containers/images.toml describes each image for this script and the flake.

A root file system has only a program and the libraries that `ldd` lists: no shell, no package
manager. The same files give the same image, byte by byte, so an image is loaded only if it is
new."""

import argparse
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

import notices

ROOT = Path(__file__).resolve().parent.parent
SECOND = 1_000_000_000  # OCI has durations in nanoseconds
SERVICES = {  # as in src/monitoring/plan.rs
    "prometheus": ["prometheus"],
    "redis-exporter": ["redis_exporter", "prometheus-redis-exporter"],
    "cadvisor": ["cadvisor"],
    "grafana": ["grafana"],
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Absent(Exception):
    """A program of an image is missing on this machine."""


def description():
    return tomllib.loads((ROOT / "containers/images.toml").read_text())


def package():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]


def reference(name):
    return f"redis-ha-lab-{name}:{package()['version']}"


def config_of(name):
    """The image's configuration in the form that an engine shows."""
    described = description()
    common, image = described["common"], described["image"][name]
    program = lambda words: [f"/bin/{words[0]}", *words[1:]]
    env = {"HALAB_CONFIG": common["config"], **image.get("env", {})}
    if image.get("server"):
        env["HALAB_REDIS_SERVER"] = "/bin/redis-server"
    if "service" in image:
        env["PATH"] = "/bin"
    health = common["health"]
    return {
        "Entrypoint": program(image["entrypoint"]),
        "Cmd": image.get("cmd", []),
        "Env": [f"{key}={value}" for key, value in sorted(env.items())],
        "User": common["user"],
        "WorkingDir": "/",
        "ExposedPorts": {f"{port}/tcp": {} for port in image.get("ports", [])},
        "Volumes": {folder: {} for folder in image.get("state", [])},
        "StopSignal": common["stop_signal"],
        "Healthcheck": {
            "Test": ["CMD", *program(image["healthcheck"])],
            "Interval": health["interval_s"] * SECOND,
            "Timeout": health["timeout_s"] * SECOND,
            "StartPeriod": health["start_period_s"] * SECOND,
            "Retries": health["retries"],
        },
        "Labels": {
            "org.opencontainers.image.title": f"redis-ha-lab-{name}",
            "org.opencontainers.image.description": image["description"],
            "org.opencontainers.image.version": package()["version"],
            "org.opencontainers.image.licenses": package()["license"],
        },
    }


class Layer:
    """Files of one layer, written in the order of their names, without metadata of this machine."""

    def __init__(self):
        self.members = {}

    def folder(self, path, mode=0o755, user=0):
        for parent in reversed(Path(path).parents):
            if str(parent) not in (".", "/"):
                self.members.setdefault(str(parent).lstrip("/"), ("folder", None, 0o755, 0))
        self.members[path.lstrip("/")] = ("folder", None, mode, user)

    def file(self, path, content, mode=0o644):
        self.folder(str(Path(path).parent))
        self.members[path.lstrip("/")] = ("file", content, mode, 0)

    def link(self, path, target):
        self.folder(str(Path(path).parent))
        self.members[path.lstrip("/")] = ("link", target, 0o777, 0)

    def program(self, path, source):
        """Add a program of this machine and the libraries that it is linked with."""
        source = Path(source).resolve()
        with source.open("rb") as start:
            if start.read(4) != b"\x7fELF":
                raise Absent(f"{source} is a script, not a program")
        self.file(path, source, 0o755)
        linked = subprocess.run(["ldd", source], capture_output=True, text=True, check=False)
        if "not found" in linked.stdout:
            raise Absent(f"{source} lacks a library: {linked.stdout.strip()}")
        # Lines such as "libc.so.6 => /lib/x/libc.so.6 (0x...)" and "/lib64/ld-linux.so.2 (0x...)";
        # none for a static program.
        for library in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", linked.stdout, re.MULTILINE):
            self.file(library, Path(library).resolve(), 0o755)

    def tree(self, path, source):
        for found in sorted(Path(source).rglob("*")):
            inside = f"{path}/{found.relative_to(source)}"
            if found.is_symlink():
                self.link(inside, os.readlink(found))
            elif found.is_dir():
                self.folder(inside)
            else:
                self.file(inside, found, 0o755 if os.access(found, os.X_OK) else 0o644)

    def write(self, path):
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for name, (kind, content, mode, user) in sorted(self.members.items()):
                member = tarfile.TarInfo(name)
                member.mode, member.uid, member.gid, member.mtime = mode, user, user, 1
                if kind == "folder":
                    member.type = tarfile.DIRTYPE
                    archive.addfile(member)
                elif kind == "link":
                    member.type, member.linkname = tarfile.SYMTYPE, content
                    archive.addfile(member)
                elif isinstance(content, bytes):
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                else:
                    member.size = content.stat().st_size
                    with content.open("rb") as data:
                        archive.addfile(member, data)
        with open(path, "rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()


def found(names, what):
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise Absent(f"{what} is not installed on this machine")


def base():
    """The layer of all images: halab, lab.toml, a user."""
    layer = Layer()
    common = description()["common"]
    uid, gid = common["user"].split(":")
    layer.program("/bin/halab", found(["halab"], "halab (./lab setup builds it)"))
    layer.file(common["config"], Path(os.environ.get("HALAB_CONFIG", ROOT / "lab.toml")))
    layer.file("/etc/passwd", f"halab:x:{uid}:{gid}:halab:/:/sbin/nologin\n".encode())
    layer.file("/etc/group", f"halab:x:{gid}:\n".encode())
    layer.folder("/tmp", 0o1777)
    layer.file("/usr/share/doc/halab/NOTICES", notices.of_program(notices.host()).encode())
    return layer


def own(name):
    """The second layer of one image."""
    layer = Layer()
    image = description()["image"][name]
    user = int(description()["common"]["user"].split(":")[0])
    for folder in image.get("state", []):
        layer.folder(folder, 0o700, user)
    if image.get("server"):
        server = os.environ.get("HALAB_REDIS_SERVER") or found(
            ["redis-server", "valkey-server"], "redis-server"
        )
        layer.program("/bin/redis-server", server)
    service = image.get("service")
    if service:
        program = Path(found(SERVICES[service], service)).resolve()
        home = program.parent.parent
        if service == "grafana":
            # Grafana looks for its pages beside its program.
            if not (home / "conf/defaults.ini").exists():
                home = Path("/usr/share/grafana")
            for folder in ("conf", "public"):
                layer.tree(f"/usr/share/grafana/{folder}", home / folder)
            layer.program("/usr/share/grafana/bin/grafana", program)
            layer.link("/bin/grafana", "/usr/share/grafana/bin/grafana")
        else:
            layer.program(f"/bin/{SERVICES[service][0]}", program)
        # Debian's Prometheus looks for its web pages in a fixed place.
        if service == "prometheus" and Path("/usr/share/prometheus/web").is_dir():
            layer.tree("/usr/share/prometheus/web", "/usr/share/prometheus/web")
    return layer


def build(names, scratch):
    """Write all layers; return the archive's manifest, its configurations by name, its layers, and
    the reasons for missing images."""
    manifest, configs, layers, absent = [], {}, {}, {}

    def written(layer, key):
        path = scratch / f"{key}.tar"
        digest = layer.write(path)
        layers[digest] = path
        return digest

    shared = written(base(), "base")
    for name in names:
        try:
            digests = [shared, written(own(name), name)]
        except Absent as why:
            absent[name] = str(why)
            continue
        config = {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": "1970-01-01T00:00:01Z",
            "config": config_of(name),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [
                {"created": "1970-01-01T00:00:01Z", "created_by": "./lab images"} for _ in digests
            ],
        }
        text = json.dumps(config, sort_keys=True).encode()
        identity = hashlib.sha256(text).hexdigest()
        configs[f"{identity}.json"] = text
        manifest.append(
            {
                "Config": f"{identity}.json",
                "RepoTags": [reference(name)],
                "Layers": [f"{digest}/layer.tar" for digest in digests],
            }
        )
    return manifest, configs, layers, absent


def write_archive(out, manifest, configs, layers):
    wanted = {name for entry in manifest for name in entry["Layers"]}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as archive:

        def add(name, size, data):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = size, 1, 0o644
            archive.addfile(member, data)

        for entry in manifest:
            text = configs[entry["Config"]]
            add(entry["Config"], len(text), io.BytesIO(text))
        for digest, path in sorted(layers.items()):
            if f"{digest}/layer.tar" in wanted:
                with path.open("rb") as data:
                    add(f"{digest}/layer.tar", path.stat().st_size, data)
        text = json.dumps(manifest).encode()
        add("manifest.json", len(text), io.BytesIO(text))


def engine_has(entry):
    shown = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Id}}", entry["RepoTags"][0]],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip() == "sha256:" + entry["Config"].removesuffix(".json")


def main():
    names = list(description()["image"])
    parser = argparse.ArgumentParser(
        prog="./lab images", description="Make the lab's images without a registry."
    )
    parser.add_argument(
        "image", nargs="*", metavar="IMAGE", help=f"one of {', '.join(names)} [default: all]"
    )
    parser.add_argument(
        "--save",
        metavar="FILE",
        help="write the images into an archive instead of loading them into Docker",
    )
    parser.add_argument(
        "--configs",
        action="store_true",
        help="print the configurations of the images as JSON and make nothing",
    )
    args = parser.parse_args()
    for name in args.image:
        if name not in names:
            parser.error(f"there is no image {name}; the images are {', '.join(names)}")
    names = args.image or names
    if args.configs:
        print(json.dumps({name: config_of(name) for name in names}, indent=2))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("LAB_DIR") or None) as scratch:
        manifest, configs, layers, absent = build(names, Path(scratch))
        for name, why in absent.items():
            print(f"lab: no image {name}: {why}", file=sys.stderr)
        if args.save:
            with open(args.save, "wb") as out:
                write_archive(out, manifest, configs, layers)
            print(f"lab: {len(manifest)} images in {args.save}")
            return
        missing = [entry for entry in manifest if not engine_has(entry)]
        if missing:
            load = subprocess.Popen(
                ["docker", "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            write_archive(load.stdin, missing, configs, layers)
            load.stdin.close()
            if load.wait() != 0:
                sys.exit("lab: error: the engine cannot load the images; see its message above")
        print(f"lab: {len(missing)} images loaded, {len(manifest) - len(missing)} already present")
    if absent and args.image:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except Absent as why:
        sys.exit(f"lab: error: {why}")
    except (BrokenPipeError, OSError) as why:
        sys.exit(f"lab: error: {why}")
