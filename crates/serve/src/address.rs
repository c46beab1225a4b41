//! Where the socket of a data directory is, also where its path is longer than a socket address can hold.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::SOCKET_NAME;

/// The longest path that a socket address holds: `sun_path` has 108 bytes on Linux, one of them the closing zero.
const MAX_ADDRESS_BYTES: usize = 107;

/// A name for `file` in `directory` that fits into a socket address for as long as the value lives.
struct ShortPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl ShortPath {
    fn new(directory: &Path, file: &str) -> io::Result<Self> {
        let path = directory.join(file);
        if path.as_os_str().len() <= MAX_ADDRESS_BYTES {
            return Ok(Self { path, _directory: None });
        }
        // The kernel reaches an open directory through its descriptor, whatever the length of its path.
        let opened = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(file);
        Ok(Self { path, _directory: Some(opened) })
    }
}

/// Connects to the process that holds `data_dir`; `None` where no process listens there.
///
/// # Errors
/// What the operating system says, other than that nobody listens.
pub fn connect(data_dir: &Path) -> io::Result<Option<UnixStream>> {
    let short = match ShortPath::new(data_dir, SOCKET_NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match UnixStream::connect(&short.path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Listens in `data_dir`, replacing the socket that an earlier process left; only the owner can connect. The caller holds
/// the directory's lock, so the replaced socket has no listener.
///
/// # Errors
/// What the operating system says.
pub(crate) fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    // Under another name first: nobody can connect before the permissions are set.
    let fresh = format!("{SOCKET_NAME}.new");
    let short = ShortPath::new(data_dir, &fresh)?;
    match std::fs::remove_file(&short.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&short.path)?;
    std::fs::set_permissions(&short.path, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(data_dir.join(&fresh), data_dir.join(SOCKET_NAME))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_directory_can_be_reached_and_a_stale_socket_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        assert!(connect(&deep).unwrap().is_none(), "nobody listens yet");
        drop(listen(&deep).unwrap());
        assert!(connect(&deep).unwrap().is_none(), "the listener is gone, its file is left");
        let listener = listen(&deep).unwrap();
        assert!(connect(&deep).unwrap().is_some());
        let mode = std::fs::metadata(deep.join(SOCKET_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only the owner may connect");
        drop(listener);
    }
}
