# For a tap. `packaging/release` writes a copy with the version and the sum. Tried on no Mac: see docs/platforms.md.
class Lockbydir < Formula
  desc "Run a command under a lock, from any shell"
  homepage "https://github.com/lockbydir/lockbydir"
  url "https://github.com/lockbydir/lockbydir/releases/download/v@VERSION@/lockbydir-@VERSION@-source.tar.gz"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    features = OS.mac? ? [] : ["--features", "full"]
    system "cargo", "install", "--profile", "dist", *features, *std_cargo_args(path: "crates/cli")
    system "packaging/stage", bin/"lockbydir", "staged"
    man1.install Dir["staged/man/*.1"]
    bash_completion.install "staged/completions/lockbydir.bash" => "lockbydir"
    zsh_completion.install "staged/completions/_lockbydir"
    fish_completion.install "staged/completions/lockbydir.fish"
  end

  test do
    assert_equal "jobs.lockdir", shell_output("#{bin}/lockbydir run jobs -- ls -d jobs.lockdir").strip
    refute_path_exists testpath/"jobs.lockdir"
  end
end
