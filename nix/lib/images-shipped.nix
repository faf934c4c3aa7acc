# The configurations of the flake's images by name, evaluated without nixpkgs: this file has
# stand-ins for the parts that nix/images uses, and a package is only the path of its program.
# scripts/nix-checks.sh compares the result with that of scripts/images.py.
let
  cargo = builtins.fromTOML (builtins.readFile ../../Cargo.toml);
  lib = {
    getExe = package: "${package.folder}/bin/${package.program}";
    getExe' = package: program: "${package.folder}/bin/${program}";
    makeBinPath = packages: builtins.concatStringsSep ":" (map (p: "${p.folder}/bin") packages);
    mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
    genAttrs =
      names: f:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    escapeShellArgs = toString;
  };
  package = program: {
    inherit program;
    folder = "/store/${program}";
    version = "0";
  };
  scope = {
    inherit lib callPackage;
    runCommand =
      name: _: _:
      "/store/${name}";
    writeTextDir = path: _: "/store/${path}";
    dockerTools.streamLayeredImage =
      image: image.config // { reference = "${image.name}:${image.tag}"; };
    project = {
      manifest = cargo.package;
      inherit (cargo.package) version;
      sources.lab = "/store/source";
      images = builtins.fromTOML (builtins.readFile ../../containers/images.toml);
    };
    halab = package "halab";
    redis = package "redis";
    prometheus = package "prometheus";
    prometheus-redis-exporter = package "redis_exporter";
    cadvisor = package "cadvisor";
    grafana = package "grafana";
  };
  # Like callPackage of nixpkgs: passes a function the arguments that it names.
  callPackage =
    file: given:
    let
      function = import file;
    in
    function (builtins.intersectAttrs (builtins.functionArgs function) (scope // given));
in
builtins.mapAttrs (_: file: callPackage file { }) (import ./discover.nix ../images)
