//! Reading a folder of slots without changing anything: what opening and the tools share.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::FolderOpenError;
use super::mark::FoundMark;
use super::slots::SlotFile;
use crate::env::Disk;
use crate::journal::limits::SEGMENT_BYTES_MAX;
use crate::journal::slots::{Judge, SLOT_HEAD_BYTES, SlotHead, Survey};
use crate::journal::{Fold, Mark, MarkFlaw, Recovered, SlotNo};

/// The file whose lock says that the log is open.
pub const LOCK_FILE: &str = "lock";

/// The slots of a folder, open for reading.
pub struct Folder {
    dir: PathBuf,
    slots: BTreeMap<SlotNo, SlotFile>,
    mark: FoundMark,
}

impl Folder {
    /// Opens every slot in `dir`, and reads its mark. Other files are left alone.
    ///
    /// # Errors
    /// [`FolderOpenError::Io`] and [`FolderOpenError::NotWritable`].
    pub async fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, FolderOpenError> {
        let paths = disk
            .list(dir)
            .await
            .map_err(|error| FolderOpenError::io("listing", dir, error))?;
        let mark = FoundMark::read(disk, dir, &paths).await?;
        let mut slots = BTreeMap::new();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(slot) = name.and_then(SlotNo::from_file_name) else {
                continue;
            };
            let opened = open_slot(disk, &path, slot).await;
            let file = opened.map_err(|error| FolderOpenError::io("opening", &path, error))?;
            slots.insert(slot, file);
        }
        Ok(Self {
            dir: dir.to_owned(),
            slots,
            mark,
        })
    }

    pub(super) fn mark(&self) -> &FoundMark {
        &self.mark
    }

    /// The path of the folder, as it was given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The numbers of the slots.
    pub fn slots(&self) -> impl Iterator<Item = SlotNo> {
        self.slots.keys().copied()
    }

    /// A slot's file.
    pub(super) fn slot(&self, slot: SlotNo) -> Option<&SlotFile> {
        self.slots.get(&slot)
    }

    /// The heads of all slots.
    ///
    /// # Errors
    /// [`FolderOpenError::Io`].
    pub async fn heads(&self) -> Result<Vec<SlotHead>, FolderOpenError> {
        let mut heads = Vec::with_capacity(self.slots.len());
        for slot in self.slots() {
            let mut bytes = Vec::new();
            self.read_front(slot, SLOT_HEAD_BYTES, &mut bytes).await?;
            heads.push(SlotHead { slot, bytes });
        }
        Ok(heads)
    }

    /// What the heads say together, and the rest of those slots whose head says nothing.
    ///
    /// # Errors
    /// [`FolderOpenError`].
    pub async fn survey(&self, heads: &[SlotHead]) -> Result<Survey, FolderOpenError> {
        let survey = Survey::new(heads);
        let mut survey = survey.map_err(|error| FolderOpenError::recovery(&self.dir, error))?;
        let mut bytes = Vec::new();
        while let Some(slot) = survey.unclear.first().copied() {
            self.read(slot, &mut bytes).await?;
            survey.claim(slot, &bytes);
        }
        Ok(survey)
    }

    /// A slot's whole file, into `bytes`.
    ///
    /// # Errors
    /// [`FolderOpenError::Io`].
    pub async fn read(&self, slot: SlotNo, bytes: &mut Vec<u8>) -> Result<(), FolderOpenError> {
        self.read_front(slot, SEGMENT_BYTES_MAX as usize, bytes)
            .await
    }

    async fn read_front(
        &self,
        slot: SlotNo,
        bytes_max: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), FolderOpenError> {
        let found = self.slot(slot).expect("asked only for slots it lists");
        let path = self.dir.join(slot.to_string());
        let size = usize::try_from(found.bytes).unwrap_or(usize::MAX);
        bytes.resize(size.min(bytes_max), 0);
        let read = found.file.read_at(0, bytes).await;
        let count = read.map_err(|error| FolderOpenError::io("reading", &path, error))?;
        bytes.truncate(count);
        Ok(())
    }

    /// Recovers the log into `fold`, and compares its end with the mark.
    ///
    /// # Errors
    /// [`FolderOpenError`]; the fold is worth nothing then.
    pub async fn recover(
        &self,
        fold: &mut (dyn Fold + Send),
    ) -> Result<Recovered, FolderOpenError> {
        let recovered = self.recover_unmarked(fold).await?;
        match self.mark_flaw(&recovered)? {
            None => Ok(recovered),
            Some(flaw) => Err(FolderOpenError::Corrupt {
                dir: self.dir.clone(),
                damage: flaw.into_damage(),
            }),
        }
    }

    /// What the mark says against a log that is whole by itself.
    pub(super) fn mark_flaw(
        &self,
        recovered: &Recovered,
    ) -> Result<Option<MarkFlaw>, FolderOpenError> {
        let mark = self.mark.mark()?;
        Ok(Mark::check(mark, recovered).err())
    }

    /// Recovers the log as its segments show it, whatever the mark says.
    pub(super) async fn recover_unmarked(
        &self,
        fold: &mut (dyn Fold + Send),
    ) -> Result<Recovered, FolderOpenError> {
        let heads = self.heads().await?;
        let survey = self.survey(&heads).await?;
        let damaged = |damage| FolderOpenError::Corrupt {
            dir: self.dir.clone(),
            damage,
        };
        let mut judge = Judge::new(survey);
        let mut bytes = Vec::new();
        while let Some(planned) = judge.next_segment() {
            self.read(planned.slot, &mut bytes).await?;
            let fed = judge.feed(&bytes, fold);
            fed.map_err(|error| FolderOpenError::recovery(&self.dir, error))?;
        }
        for planned in judge.survey().superseded.clone() {
            self.read(planned.slot, &mut bytes).await?;
            judge.examine(planned, &bytes).map_err(damaged)?;
        }
        judge.finish().map_err(damaged)
    }
}

async fn open_slot(disk: &dyn Disk, path: &Path, slot: SlotNo) -> io::Result<SlotFile> {
    let file = disk.open(path, false).await?;
    let bytes = file.size().await?;
    Ok(SlotFile {
        slot,
        file: Arc::clone(&file),
        bytes,
    })
}
