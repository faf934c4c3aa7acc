# The program with completions and manual pages. It finds the Redis server on PATH or by
# HALAB_REDIS_SERVER.
{
  lib,
  stdenv,
  buildPackages,
  rustPlatform,
  installShellFiles,
  project,
}:
rustPlatform.buildRustPackage {
  pname = "halab";
  inherit (project) version;

  src = project.sources.program;
  cargoLock.lockFile = ../../Cargo.lock;

  nativeBuildInputs = [ installShellFiles ];

  # All tests are in checks.rust: here they would compile everything again in another profile.
  doCheck = false;

  postInstall = lib.optionalString (stdenv.hostPlatform.emulatorAvailable buildPackages) (
    let
      halab = "${stdenv.hostPlatform.emulator buildPackages} $out/bin/halab";
    in
    ''
      ${halab} man man
      installManPage man/*.1
      installShellCompletion --cmd halab \
        --bash <(${halab} completions bash) \
        --fish <(${halab} completions fish) \
        --zsh <(${halab} completions zsh)
    ''
  );

  meta = {
    inherit (project.manifest) description;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = "halab";
    platforms = lib.platforms.unix;
  };
}
