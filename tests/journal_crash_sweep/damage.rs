//! Every page and every file of a log, broken in every way: each change is refused, or harmless, or takes the last
//! batch of a log that was not sealed, and the opening says how many records that had. Events are numbered, so
//! that what is found is compared with what was promised one by one.
//!
//! One change is beyond that: an older copy of the newest file of a log that was not sealed. It is what the file
//! once was, in all its pages. What was written before the opening that it belongs to is safe from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use leasebridge::env::Disk;
use leasebridge::journal::{Generation, Mark, SegmentHeader};
use leasebridge::queue::log::files::{FolderOpenError, MARK_FILE, tools};
use leasebridge_sim::disk::{Drivers, SimDisk};
use leasebridge_sim::seed::Seed;

use super::log::{Known, Numbers, Session, body, dir};

const PAGE: usize = 4096;

/// Repairs after which a log has to open again, whatever was broken.
const REPAIRS_MAX: usize = 8;

/// The files of a folder.
type Image = BTreeMap<PathBuf, Vec<u8>>;

/// A log on a disk, what it was on the way, and what was promised of it.
struct Log {
    name: &'static str,
    image: Image,
    older: Vec<Image>,
    known: Known,
    /// Events that stand before the last batch; all, if nothing can be missing.
    sure: u64,
    /// Events that stand before the last opening.
    marked: u64,
    /// That opening.
    generation: Generation,
}

/// What became of the changes.
#[derive(Debug, Default)]
struct Seen {
    refused: u32,
    harmless: u32,
    cut: u32,
    older_end: u32,
}

fn image(disk: &SimDisk) -> Image {
    let files = disk.files().into_iter();
    files
        .map(|(path, _)| {
            let bytes = disk.bytes(&path).expect("it is listed");
            (path, bytes)
        })
        .collect()
}

/// Writes on until `count` events are there, a batch each, and keeps what the folder is after every few.
async fn write(disk: &SimDisk, session: &mut Session, count: u64, older: &mut Vec<Image>) {
    while session.known.lock().unwrap().appended < count {
        session.append();
        session.flush().await.unwrap();
        while session.writer.segments_in_use() > 3 {
            session.retire_oldest().await;
        }
        if session.known.lock().unwrap().appended.is_multiple_of(5) {
            older.push(image(disk));
        }
    }
}

/// A log of these openings, each up to so many events; the last is sealed or not.
fn log(name: &'static str, openings: &[u64], sealed: bool) -> Log {
    let drivers = Drivers::new();
    let disk = SimDisk::new(Seed(5), drivers.clone());
    let known = Arc::new(Mutex::new(Known::default()));
    let mut older = Vec::new();
    let (mut marked, mut generation) = (0, Generation::default());
    let done = drivers.block_on(async {
        for (number, count) in openings.iter().enumerate() {
            let (mut session, numbers) = Session::open(&disk, &known).await;
            marked = numbers.next;
            generation = session.recovered.start.generation;
            write(&disk, &mut session, *count, &mut older).await;
            let last = number + 1 == openings.len();
            if sealed || (!last && number.is_multiple_of(2)) {
                older.push(image(&disk));
                session.seal().await;
            }
        }
    });
    assert!(done.is_some());
    let known = known.lock().unwrap().clone();
    Log {
        name,
        image: image(&disk),
        older,
        sure: known.promised - u64::from(!sealed),
        marked,
        generation,
        known,
    }
}

/// The same log, with half of one more batch and so many bytes of its witness.
fn torn(name: &'static str, openings: &[u64], witness_bytes: usize) -> Log {
    let whole = log("", openings, false);
    let mut more = openings.to_vec();
    *more.last_mut().unwrap() += 1;
    let more = log("", &more, false);
    let newest = newest(&whole);
    let mut image = whole.image.clone();
    let bytes = image.get_mut(&newest).unwrap();
    let after = &more.image[&newest];
    let (batches, witnesses) = (0..bytes.len() - PAGE, bytes.len() - PAGE..bytes.len());
    let differs = |at: &usize| bytes[*at] != after[*at];
    let batch: Vec<usize> = batches.filter(differs).collect();
    let witness = witnesses.filter(differs).take(witness_bytes);
    let arrived: Vec<usize> = witness
        .chain(batch[..batch.len() / 2].iter().copied())
        .collect();
    for at in arrived {
        bytes[at] = after[at];
    }
    Log {
        name,
        image,
        ..whole
    }
}

fn disk_of(image: &Image) -> (SimDisk, Drivers) {
    let drivers = Drivers::new();
    let disk = SimDisk::new(Seed(6), drivers.clone());
    let made = drivers.block_on(async {
        disk.create_dir_all(dir()).await.unwrap();
        for (path, bytes) in image {
            let file = disk.open(path, true).await.unwrap();
            file.write_at(0, bytes).await.unwrap();
            file.sync().await.unwrap();
        }
        disk.sync_dir(dir()).await.unwrap();
    });
    assert!(made.is_some());
    (disk, drivers)
}

/// Opens the folder, and says how many events are there and how many records were said to be cut.
async fn open(disk: &SimDisk, log: &Log) -> Result<(u64, u64), FolderOpenError> {
    let known = Arc::new(Mutex::new(log.known.clone()));
    let (opened, numbers) = Session::try_open(disk, &known).await;
    let session = opened?;
    let first = numbers.first.unwrap_or(0);
    assert!(first <= log.known.retained, "{}: from {first} on", log.name);
    for (number, place) in numbers.bodies.range(log.known.retained..) {
        let read = session.files.read_body(*place).await;
        assert_eq!(read.unwrap(), body(*number), "body {number}");
    }
    let cut = session.recovered.torn.and_then(|torn| torn.records);
    Ok((numbers.next, u64::from(cut.unwrap_or(0))))
}

/// Opens a broken log and judges what comes of it.
fn judge(log: &Log, what: &str, broken: &Image, seen: &mut Seen) {
    if *broken == log.image {
        return;
    }
    let (disk, drivers) = disk_of(broken);
    let opened = drivers.block_on(open(&disk, log)).expect("it ends");
    let what = format!("{}, {what}", log.name);
    let (found, cut) = match opened {
        Ok(found) => found,
        Err(FolderOpenError::Corrupt { .. }) => {
            assert_eq!(
                image(&disk),
                with_lock(broken),
                "{what}: refused and changed"
            );
            seen.refused += 1;
            return repaired(log, &what, &disk, &drivers);
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let promised = log.known.promised;
    let older_end = what.contains("an older copy of the newest file") && log.sure < promised;
    if found == promised {
        seen.harmless += 1;
    } else if older_end && (log.marked..promised).contains(&found) {
        seen.older_end += 1;
    } else {
        let at_most_one = (log.sure..promised).contains(&found);
        assert!(
            at_most_one,
            "{what}: {found} events are left of {:?}",
            log.known
        );
        // A segment's first batch has its base beside its events.
        let missing = promised - found;
        let said = (missing..=missing + 1).contains(&cut);
        // Two pages at once may be the batch and its witness.
        let said = said || what.ends_with("swapped");
        assert!(
            said,
            "{what}: {missing} are missing, and the opening said {cut}"
        );
        seen.cut += 1;
    }
    let again = drivers.block_on(open(&disk, log)).expect("it ends");
    let again = again.unwrap_or_else(|error| panic!("{what}: opened once and then not: {error}"));
    assert_eq!(again.0, found, "{what}: found once and then not");
}

/// The lock's file is made by whoever looks.
fn with_lock(image: &Image) -> Image {
    let mut image = image.clone();
    image.entry(dir().join("lock")).or_default();
    image
}

/// A log that was refused opens after a repair, and has nothing that was never written.
fn repaired(log: &Log, what: &str, disk: &SimDisk, drivers: &Drivers) {
    // Without mark and segment nobody knows of the last opening.
    let mark = disk.bytes(&dir().join(MARK_FILE)).unwrap_or_default();
    let mark = Mark::newest(&mark)
        .unwrap()
        .map(|(_, mark)| mark.generation);
    let last = mark
        .filter(|mark| *mark == log.generation)
        .map_or(0, |mark| mark.0);
    let done = drivers.block_on(async {
        let mut cut = false;
        for _ in 0..REPAIRS_MAX {
            let repaired = tools::repair(disk, dir(), &mut Numbers::default()).await;
            match repaired.unwrap_or_else(|error| panic!("{what}: {error}")) {
                Some(repair) => cut |= repair.cut.is_some(),
                None => break,
            }
        }
        let (opened, numbers) = Session::try_open(disk, &Arc::default()).await;
        let opened = opened.map(|session| session.recovered.start.generation);
        let opened = opened.unwrap_or_else(|error| panic!("{what}: not repaired: {error}"));
        // A cut is an opening of its own, and none that came before may be taken for it.
        let least = last + 1 + u32::from(cut);
        assert!(
            opened.0 >= least,
            "{what}: opening {} comes again",
            opened.0
        );
        assert!(numbers.next <= log.known.promised + 1, "{what}: made up");
    });
    assert!(done.is_some());
}

/// Breaks one page of one file.
fn pages(log: &Log, path: &Path, seen: &mut Seen) {
    let bytes = &log.image[path];
    let name = path.file_name().unwrap().to_str().unwrap();
    for page in 0..bytes.len() / PAGE {
        let range = page * PAGE..(page + 1) * PAGE;
        let mut with = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut broken = log.image.clone();
            change(broken.get_mut(path).unwrap());
            judge(log, &format!("page {page} of {name} {what}"), &broken, seen);
        };
        with("zeroed", &|file| file[range.clone()].fill(0));
        for at in [0, 13, 41, 700, 2048, PAGE - 2] {
            with("flipped", &|file| file[range.start + at] ^= 1 << (at % 8));
        }
        with("cut off with all behind it", &|file| {
            file.truncate(range.start)
        });
        with("cut in the middle", &|file| {
            file.truncate(range.start + 100)
        });
        for other in 0..bytes.len() / PAGE {
            let from = other * PAGE..(other + 1) * PAGE;
            with("a copy of another", &|file| {
                file.copy_within(from.clone(), range.start)
            });
            with("swapped", &|file| {
                let copy = file[from.clone()].to_vec();
                file.copy_within(range.clone(), from.start);
                file[range.clone()].copy_from_slice(&copy);
            });
        }
        for older in &log.older {
            let Some(page) = older.get(path).and_then(|file| file.get(range.clone())) else {
                continue;
            };
            with("an older copy", &|file| {
                file[range.clone()].copy_from_slice(page)
            });
        }
    }
}

/// The file in which the log ends.
fn newest(log: &Log) -> PathBuf {
    let header = |bytes: &Vec<u8>| SegmentHeader::decode(bytes).ok();
    let files = log.image.iter();
    let files = files.filter_map(|(path, bytes)| Some((header(bytes)?.segment, path)));
    files.max().expect("there is a log").1.clone()
}

/// Breaks one file as a whole.
fn files(log: &Log, path: &Path, seen: &mut Seen) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let newest = newest(log);
    let mut with = |what: &str, change: &dyn Fn(&mut Image)| {
        let mut broken = log.image.clone();
        change(&mut broken);
        judge(log, &format!("{name} {what}"), &broken, seen);
    };
    let size = log.image[path].len();
    with("removed", &|image| drop(image.remove(path)));
    with("emptied", &|image| image.get_mut(path).unwrap().clear());
    with("zeroed", &|image| image.get_mut(path).unwrap().fill(0));
    with("one byte short", &|image| {
        image
            .get_mut(path)
            .unwrap()
            .truncate(size.saturating_sub(1))
    });
    with("copied", &|image| {
        image.insert(dir().join("000099.seg"), image[path].clone());
    });
    for other in log.image.keys() {
        with("swapped with another", &|image| {
            let (one, two) = (image[path].clone(), image[other].clone());
            image.insert(path.to_owned(), two);
            image.insert(other.clone(), one);
        });
        with("put in the place of another", &|image| {
            image.insert(other.clone(), image[path].clone());
        });
    }
    for older in &log.older {
        let Some(copy) = older.get(path) else {
            continue;
        };
        let what = if path == newest {
            "is an older copy of the newest file"
        } else {
            "is an older copy"
        };
        with(what, &|image| {
            image.insert(path.to_owned(), copy.clone());
        });
    }
}

/// Breaks everything of these logs; says what became of it.
fn broken(logs: &[Log]) -> Seen {
    let mut seen = Seen::default();
    for log in logs {
        assert!(log.image.contains_key(&dir().join(MARK_FILE)));
        for path in log.image.keys() {
            pages(log, path, &mut seen);
            files(log, path, &mut seen);
        }
    }
    println!("{} and the like: {seen:?}", logs[0].name);
    assert!(seen.refused > 100 && seen.harmless > 50, "{seen:?}");
    seen
}

#[test]
fn no_change_of_a_page_or_a_file_takes_anything_from_a_log_that_was_sealed() {
    let counts = (60..76).step_by(3);
    let sealed: Vec<Log> = counts.map(|count| log("sealed", &[count], true)).collect();
    let short = vec![log("sealed, its last opening short", &[60, 66], true)];
    let recycled = vec![log("recycled and sealed", &[90, 180, 250], true)];
    assert!(recycled[0].image.len() > 5, "it holds no spares");
    for logs in [sealed, short, recycled] {
        let seen = broken(&logs);
        assert_eq!((seen.cut, seen.older_end), (0, 0));
    }
}

#[test]
fn a_log_is_refused_without_its_mark_and_with_an_older_one() {
    let log = log("marked", &[20, 40], false);
    let mark = dir().join(MARK_FILE);
    let pages = log.image[&mark].chunks(PAGE);
    let pages: Vec<Mark> = pages.map(|page| Mark::decode(page).unwrap()).collect();
    assert_ne!(pages[0].generation, pages[1].generation, "they take turns");
    let older = log.older.iter().find_map(|older| older.get(&mark)).unwrap();
    for put in [
        None,
        Some(Vec::new()),
        Some(vec![0; 2 * PAGE]),
        Some(older.clone()),
    ] {
        let mut image = log.image.clone();
        image.remove(&mark);
        image.extend(put.map(|bytes| (mark.clone(), bytes)));
        let mut seen = Seen::default();
        judge(&log, "its mark", &image, &mut seen);
        assert_eq!(seen.refused, 1, "{seen:?}");
    }
}

/// Of so many lengths that the last batch stands in pages alone and among others, at their beginning and their end.
#[test]
fn a_change_of_a_page_or_a_file_takes_one_batch_at_most_from_one_that_was_not() {
    let counts = 60..76;
    let unsealed: Vec<Log> = counts
        .clone()
        .map(|count| log("unsealed", &[count], false))
        .collect();
    let recycled = |count| log("recycled and unsealed", &[90, 180, 180 + count], false);
    let recycled: Vec<Log> = counts.clone().step_by(3).map(recycled).collect();
    broken(&[log("unsealed, its last opening short", &[60, 66], false)]);
    for logs in [&unsealed, &recycled] {
        let seen = broken(logs);
        assert!(seen.cut > 0 && seen.older_end > 0, "{seen:?}");
    }
    // Nothing of its witness arrived, a part, or all.
    for witness_bytes in [0, 9, PAGE] {
        let torn: Vec<Log> = counts
            .clone()
            .step_by(3)
            .map(|count| torn("torn", &[count], witness_bytes))
            .collect();
        broken(&torn);
    }
}
