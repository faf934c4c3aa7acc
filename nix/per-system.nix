# The outputs of one system. Packages, images and checks are discovered by file name.
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

  # The arguments that files in nix/ may name: packages of nixpkgs and of this flake, and `project`.
  scope = lib.makeScope pkgs.newScope (
    ours:
    {
      inherit nixpkgs project self;
    }
    // lib.mapAttrs (_: file: ours.callPackage file { }) (found ./packages)
  );
  built = folder: lib.mapAttrs (_: file: scope.callPackage file { }) (found folder);

  # Tests on virtual machines, with KVM if available and also without it, where nixpkgs' default is
  # to refuse the build.
  vmTest =
    file:
    let
      test = pkgs.testers.runNixOSTest {
        imports = [ file ];
        _module.args = { inherit packages project self; };
      };
    in
    # An older nixpkgs lacks this function and still refuses the build without KVM.
    (test.overrideTestDerivation or (_: test)) (previous: {
      requiredSystemFeatures = lib.remove "kvm" previous.requiredSystemFeatures;
    });

  images = built ./images;
  packages =
    lib.getAttrs (lib.attrNames (found ./packages)) scope
    // {
      default = scope.halab;
    }
    # Images contain Linux programs.
    // lib.optionalAttrs onLinux (
      lib.mapAttrs' (name: lib.nameValuePair "image-${name}") images
      // import ./images/lib/all.nix { inherit (pkgs) lib linkFarm writeShellApplication; } images
    );
  devShells.default = scope.callPackage ./devshell.nix { };
in
{
  inherit packages devShells;
  # Without callPackage, which would add its own attributes to the set of apps.
  apps = import ./apps.nix {
    inherit lib;
    inherit (pkgs) writeShellApplication;
    inherit (scope) halab lab;
    inherit onLinux packages self;
    inherit (pkgs.stdenv.hostPlatform) system;
  };
  formatter = scope.format;

  checks = lib.optionalAttrs onLinux (
    # The checks include a build of every package and shell.
    lib.mapAttrs' (name: lib.nameValuePair "package-${name}") (removeAttrs packages [ "default" ])
    // lib.mapAttrs' (name: lib.nameValuePair "shell-${name}") devShells
    // built ./checks
    // lib.mapAttrs' (name: test: lib.nameValuePair "vm-${name}" (vmTest test)) (found ./tests)
  );
}
