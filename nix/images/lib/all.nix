# All images: their scripts by name, and a program that loads all of them.
{
  lib,
  linkFarm,
  writeShellApplication,
}:
images: {
  images = linkFarm "redis-ha-lab-images" images;

  load-images = writeShellApplication {
    name = "load-images";
    text = ''
      engine=''${1-}
      if [ -z "$engine" ]; then
        for engine in docker podman ""; do ! command -v "$engine" >/dev/null || break; done
      fi
      if ! command -v "$engine" >/dev/null; then
        echo "load-images: neither docker nor podman is on PATH; use nix run .#load-images -- ENGINE" >&2
        exit 1
      fi
      for image in ${lib.escapeShellArgs (lib.attrValues images)}; do
        "$image" | "$engine" load
      done
    '';
    meta.description = "Loads every image of the lab into docker or podman";
  };
}
