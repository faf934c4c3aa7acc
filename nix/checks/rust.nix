# The program as ./lab test judges it: format, clippy, and all tests, those with real servers too (the build
# sandbox has a loopback network of its own).
{
  halab,
  clippy,
  rustfmt,
  redis,
  procps,
  curl,
  iproute2,
  libfaketime,
  nftables,
  strace,
  util-linux,
  project,
}:
halab.overrideAttrs (previous: {
  pname = "halab-tests";
  src = project.sources.tests;
  nativeBuildInputs = previous.nativeBuildInputs ++ [
    clippy
    rustfmt
    redis
    procps
    curl
    # Drills cut nodes off in a network of their own, step clocks, slow disks.
    iproute2
    libfaketime
    nftables
    strace
    util-linux
  ];
  buildPhase = ''
    runHook preBuild
    cargo fmt --check
    cargo clippy --all-targets --offline -- -D warnings
    runHook postBuild
  '';
  checkPhase = ''
    runHook preCheck
    cargo test --offline
    runHook postCheck
  '';
  installPhase = "touch $out";
  postInstall = "";
})
