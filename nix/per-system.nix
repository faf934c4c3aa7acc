# The outputs of one system. Packages, images and checks are found by their files' names.
{
  lib,
  nixpkgs,
  project,
  self,
  pkgs,
  onLinux,
}:
let
  found = project.discover;

  # What a file in nix/ may ask for by name: packages of nixpkgs, of this flake, and `project`.
  scope = lib.makeScope pkgs.newScope (
    ours:
    {
      inherit nixpkgs project self;
    }
    // lib.mapAttrs (_: file: ours.callPackage file { }) (found ./packages)
  );
  built = folder: lib.mapAttrs (_: file: scope.callPackage file { }) (found folder);

  # Labs of virtual machines. With KVM where there is one, but without it too: nixpkgs would have such a machine refuse
  # the build.
  vmTest =
    file:
    let
      test = pkgs.testers.runNixOSTest {
        imports = [ file ];
        _module.args = { inherit packages project self; };
      };
    in
    # An older nixpkgs has no such function, and then it stays refused.
    (test.overrideTestDerivation or (_: test)) (previous: {
      requiredSystemFeatures = lib.remove "kvm" previous.requiredSystemFeatures;
    });

  images = built ./images;
  packages =
    lib.getAttrs (lib.attrNames (found ./packages)) scope
    // {
      default = scope.halab;
    }
    # Images are of Linux programs.
    // lib.optionalAttrs onLinux (
      lib.mapAttrs' (name: lib.nameValuePair "image-${name}") images
      // import ./images/lib/all.nix { inherit (pkgs) lib linkFarm writeShellApplication; } images
    );
  devShells.default = scope.callPackage ./devshell.nix { };
in
{
  inherit packages devShells;
  # Not by callPackage, which would add attributes of its own to the set of apps.
  apps = import ./apps.nix {
    inherit lib;
    inherit (pkgs) writeShellApplication;
    inherit (scope) halab lab;
    inherit onLinux packages self;
    inherit (pkgs.stdenv.hostPlatform) system;
  };
  formatter = scope.format;

  checks = lib.optionalAttrs onLinux (
    # Every package and every shell is built.
    lib.mapAttrs' (name: lib.nameValuePair "package-${name}") (removeAttrs packages [ "default" ])
    // lib.mapAttrs' (name: lib.nameValuePair "shell-${name}") devShells
    // built ./checks
    // lib.mapAttrs' (name: test: lib.nameValuePair "vm-${name}" (vmTest test)) (found ./tests)
  );
}
