//! File systems of their own that are small enough to be filled.
//!
//! To mount one takes a right that root has. Anybody else gets it within a user and a mount namespace of their own, where the
//! kernel makes these for everybody: the test is run once more there, as a process that the same user is and that ends with it.
//! Where neither works the test is left out, and says so past the test runner, which would keep it to itself.

use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set where the test runs within namespaces made for it.
const WITHIN: &str = "GRIDHOUSE_TEST_MAY_MOUNT";

/// The namespaces, in which the user stays the one it is, since PostgreSQL does not run as root, and keeps the right to mount.
const NAMESPACES: [&str; 4] = ["--user", "--map-current-user", "--keep-caps", "--mount"];

/// Whether the test of this name goes on here. If not, it has passed in a process of its own, or is left out.
///
/// # Panics
/// If it has failed there.
pub fn may_mount(test: &str) -> bool {
    let tried = tempfile::tempdir().expect("a temporary directory");
    if Disk::mount(tried.path(), 1, 0).is_ok() {
        drop(Disk(tried.path().to_owned()));
        return true;
    }
    let can_make = |namespaces: &[&str]| {
        let made = Command::new("unshare").args(namespaces).arg("true").stderr(Stdio::null()).status();
        made.is_ok_and(|status| status.success())
    };
    if std::env::var_os(WITHIN).is_some() || !can_make(&NAMESPACES) {
        let left_out = format!(
            "\nLEFT OUT: {test} mounts small file systems, for which it needs root, or a kernel that makes namespaces for all users\n"
        );
        // Nothing is to be done about a screen that is gone.
        let _ = std::io::stderr().write_all(left_out.as_bytes());
        return false;
    }
    let itself = std::env::current_exe().expect("the path of the running program");
    let mut again = Command::new("unshare");
    again.args(NAMESPACES).arg(itself).args(["--exact", test, "--nocapture"]).env(WITHIN, "1");
    let output = again.output().expect("unshare runs");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "within namespaces of its own: {said}");
    assert!(!said.contains("LEFT OUT"), "namespaces in which nothing can be mounted: {said}");
    false
}

/// A file system of its own of so many megabytes, which goes with this.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one in a test that [`may_mount`].
    pub fn new(path: PathBuf, megabytes: u32) -> Self {
        std::fs::create_dir_all(&path).expect("the directory can be made");
        Self::mount(&path, megabytes, 0).expect("a file system can be mounted");
        Self(path)
    }

    pub fn resize(&self, megabytes: u32) {
        Self::mount(&self.0, megabytes, libc::MS_REMOUNT).expect("the file system can be resized");
    }

    fn mount(path: &Path, megabytes: u32, flags: libc::c_ulong) -> std::io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let options = CString::new(format!("size={megabytes}m,mode=777"))?;
        // The program `mount` refuses whoever is not called root, whatever rights they have.
        // SAFETY: all pointers are to texts that end with a zero and live until the call is over.
        #[expect(unsafe_code, reason = "the standard library mounts nothing")]
        let done =
            unsafe { libc::mount(c"tmpfs".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), flags, options.as_ptr().cast()) };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Ok(path) = CString::new(self.0.as_os_str().as_bytes()) else { return };
        // SAFETY: as above. What is still in use goes once it is not.
        #[expect(unsafe_code, reason = "the standard library unmounts nothing")]
        unsafe {
            libc::umount2(path.as_ptr(), libc::MNT_DETACH);
        }
    }
}
