# The checks of ./lab test on the program: format, clippy, and all tests, including those with real
# servers (the build sandbox has its own loopback network).
{
  callPackage,
  halab,
  clippy,
  rustfmt,
  redis,
  procps,
  curl,
  project,
}:
halab.overrideAttrs (previous: {
  pname = "halab-tests";
  src = project.sources.tests;
  nativeBuildInputs =
    previous.nativeBuildInputs
    ++ [
      clippy
      rustfmt
      redis
      procps
      curl
    ]
    ++ (callPackage ../drill-tools.nix { }).packages;
  buildPhase = ''
    runHook preBuild
    cargo fmt --check
    cargo clippy --all-targets --offline -- -D warnings
    runHook postBuild
  '';
  doCheck = true;
  checkPhase = ''
    runHook preCheck
    cargo test --offline
    runHook postCheck
  '';
  installPhase = "touch $out";
  postInstall = "";
})
