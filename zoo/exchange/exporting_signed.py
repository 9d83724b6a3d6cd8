"""Export the files of a checkpoint as they were signed, for a program that knows no zoo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zoo.domain.file_names import why_unsafe
from zoo.domain.result import Result
from zoo.domain.signature import MANIFEST_FILE, SIGNATURES
from zoo.errors import Unsupported
from zoo.exchange.exporting import check_free, new_folder
from zoo.store.atomic import write_whole
from zoo.store.files import restore_file
from zoo.store.proof import files_of
from zoo.transfer.signed import readable
from zoo.workspace import Workspace

__all__ = ["SignedFolder", "export_signed"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SignedFolder(Result):
    """A folder that was written.

    Attributes:
        files: The files that are signed.
        signatures: The signatures.
    """

    files: tuple[Path, ...]
    signatures: tuple[Path, ...]


def export_signed(
    workspace: Workspace, name: str, folder: Path, *, all_files: bool = False
) -> SignedFolder:
    """Write the files of a checkpoint or a snapshot, its manifest, and the signatures of it that
    are sound.

    Raises:
        Conflict: ``folder`` holds files already; nothing was written.
        Unsupported: Nobody has signed it; or it has files whose names are not harmless, and not
            ``all_files``: without them no signature fits.
        Corrupt: The store is damaged.
    """
    check_free(folder)
    store, (ref, digest) = workspace.store, workspace.names.target(name)
    path = ref.path if ref else ""
    document, kept = store.document(digest), [*readable(store, digest, path)]
    if not kept:
        raise Unsupported("nobody has signed it", hint="zoo sign NAME --key key.pem")
    files = tuple(files_of(document))
    unsafe = [f"'{file.name}' {why}" for file in files if (why := why_unsafe(file.name))]
    if unsafe and not all_files:
        hint = "to write it all the same: zoo export --signed --all-files"
        raise Unsupported(f"a file {unsafe[0]}, and without it no signature fits", hint=hint)
    with new_folder(folder) as whole:
        for file in files:
            restore_file(store, file, whole / file.name)
        write_whole(whole / MANIFEST_FILE, [document.to_bytes()])
        for each, data in kept:
            write_whole(whole / SIGNATURES / f"{each.digest.short}.sig", [data])
    return SignedFolder(
        files=tuple(folder / name for name in sorted({*(f.name for f in files), MANIFEST_FILE})),
        signatures=tuple(folder / SIGNATURES / f"{each.digest.short}.sig" for each, _ in kept),
    )
