//! Gives back the pages of the program that only planning needs.
//!
//! Planning a script touches more than half of the program once; a job then runs in a few of its pages. The kernel counts
//! all of them as memory of the process until somebody gives them back, and reads a page from the file again when it is
//! needed after all.

/// Gives back the code that is in memory; a page that runs again comes back by itself.
#[cfg(target_os = "linux")]
pub fn release_code() {
    // Without /proc nothing is given back, and nothing else is lost.
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/maps"), std::fs::read_link("/proc/self/exe")) else {
        return;
    };
    let program = program.to_string_lossy();
    let code = maps.lines().filter(|line| line.ends_with(&*program)).filter_map(code_range);
    for range in code {
        #[expect(unsafe_code, reason = "the standard library does not advise the kernel about memory")]
        // SAFETY: the range is one of code, mapped from the program's file and never written, so each of its pages is read
        // back from the file, as it was, when it is touched again.
        let _ = unsafe {
            let start = std::ptr::with_exposed_provenance_mut(range.start);
            rustix::mm::madvise(start, range.len(), rustix::mm::Advice::LinuxDontNeed)
        };
    }
}

/// Other systems decide alone.
#[cfg(not(target_os = "linux"))]
pub fn release_code() {}

/// The addresses of a line such as `55d0a000-55d0b000 r-xp 00001000 08:01 42 /usr/bin/kinesql` if it is one of code.
#[cfg(target_os = "linux")]
fn code_range(line: &str) -> Option<std::ops::Range<usize>> {
    let mut fields = line.split(' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp";
    let address = |text| usize::from_str_radix(text, 16).ok();
    is_code.then_some(address(start)?..address(end)?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_given_back() {
        let line = |permissions| format!("1000-3000 {permissions} 00001000 08:01 42                 /usr/bin/kinesql");
        assert_eq!(code_range(&line("r-xp")), Some(0x1000..0x3000));
        assert_eq!(code_range(&line("r--p")), None);
        assert_eq!(code_range(&line("rw-p")), None);
        assert_eq!(code_range(""), None);
    }

    #[test]
    fn the_program_runs_on() {
        release_code();
        release_code();
    }
}
