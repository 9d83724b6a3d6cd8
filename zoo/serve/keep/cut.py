"""Cut: the chunks of a file, cut where clients of Xet cut it.

A chunk ends where the rolling hash of the last 64 bytes begins with 16 zero bits, after 8 KiB at
the earliest and 128 KiB at the latest (https://huggingface.co/docs/xet/chunking). Bytes that two
files have in common are chunks in common, wherever they lie.

Runs in a process of its own, which has numpy: ``python -m zoo.serve.keep.cut ZOO``. It is told of a
file, as a `Snapshot` of it alone, on stdin, and keeps the list of its chunks.
"""

from __future__ import annotations

import sys
from base64 import b85decode
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.domain.limits import MANIFEST_BYTES
from zoo.domain.snapshot import Snapshot
from zoo.serve.keep.chunk_list import Chunk, keep_chunks
from zoo.serve.keep.files import FileLayout
from zoo.serve.keep.xorb import CHUNK_BYTES, chunk_hash
from zoo.workspace import Workspace

__all__ = ["cut"]

LEAST = 8 * 1024
WINDOW = 64
"""Bytes that the hash is of: each is shifted out after as many."""
ZEROS = 16
BLOCK = 64 * 1024
"""So many bytes are hashed at once: their hashes stay in the processor's cache."""
TABLE = np.frombuffer(
    b85decode(
        "u!z&C=s@*ZR#M0JIqe|UMY4%$iHUNnYYK_gwvNYlHjh_6i+VA)9mY1?={DI*AbLzrRaDisq;#`JC?lH7I|ise9HY4skm"
        "rqTF9N#v;mIxc6%Cq-j+F&E5QfvOS}yeQxH<<Sr4Ou>pMZa^4s!$RfY{c7nXrD`6>zN&Xq_*$RsAq_002;e5uT)I#IS<"
        "~sE^DjKCows_BTrX@t=pQhOKlq@)DoFzH7%eND)a_T$rTo00037l}CHUAG$Yy8l39PJMeGTW2BpHnP`5Og5!rvd7%b#s"
        "!-VD<gCx0ViEKpB_QV?hgXnsE7jBecp8eE0Nzc_-4V!h>ZvgtT8B9=+jNe$7ra3KuUDFl_8`A+hNk7(8wtX(%rC<V!y="
        "(BHC`(I!S_OEEt$ylz#*i2y537llmySi_q7;u9dLbVGKRKTd-E(H006d#hOZ|Kp%vET+lr8RNKby8m$KoR%*uPWR}<p_"
        "za@mGE3olkt>@?yVqLt*003~54TqIlisq3B6P{vky?1KYFWxw!`)dFn!u-I`$E0+)=6l2^y7uuF5bIr73CkZ_ZRc>&u("
        "BEEmwik}0L;8NZl|qE%!Hi^-<LlDbEEHl0c!Vf$OqEXhP}Q1e=5nAY<U+j&^M@S#>E8M^YMIU9;#rStfnTgO{(UHby}G"
        ">PfA+{kb{2aTP&{LZs@I({Z<Es007zH5L4~go(4Oz(j42@2dj7SDgn~6>{S9)=42a0c>9#7M4S}H$59R&#=!OU001%zH"
        "ss3Vf_yV3EQ=Z~6lY%xNa{gECVSJSNsa95@sV%&g7pJlh9Vn(^fdd3oxaZJIB!YV>R9;7$PbT70F4=jlKf=YZ8&gGy1$"
        "w>;4;ex(dWKQB8?&TtwjisV_dPnz$J;LMj)YcoTAQgr{~|}s^$Aw3=qnbD?APBCnx^sgs<&;qTd{C`Qob|P0i7)2Xyr#"
        "0040Rtux|IqO9n9#g}*%n35-2v?yRn!iEun-SLT8yP0yJLP$Ot?{LjGW>GMB000FOtNfT`z*x2zSjj+x3FuITmnGodk("
        "c{B_&$A<ejZ|N61GduQVdj3e|uNazTtUsbmAlyZ`rIeBI#9!03(%rn%}=Zpd5XEBTK#&tD?tPxTB1_4IiM+>^>_n3$~?"
        ";eqgzgLo?l5pQ2_p!u>maKmoy{`$2#tRC5t0Wu;+-r41O%_Id)nhlI6HX>SqTXXa32001B&{HPSGjMl!9ExFiIX;F!`>"
        "8^@b?vzut3fc@P*!*6p8hC_WtA@WB8cL^U0073d$Yd4eCUX!MjtHVI?JW=+2aC!jJ3;M)vL>ke6Xqfk4=CIQqZRe*`*3"
        "Y0h!(?6GXc8J={Z}RyK()l04(VsE^-z~LWA2KE3?TQ*L_AB(y^wc;_MgXZtI3?xZu7(Is3$X-l1T`)hV3>e(Z+G(u_7V"
        "AsMX_pO~YWrp)wfVWNZYEK<(i_E^RjEwqObX{_CY008jT^PbD;J=NIBjW3jmiWqXDD*^R{@`9wq4tqTEfFSHF%NwDVW|"
        "Owyo>}7)007Pz%zT6EAj?-Z_D7sMb}qj+S=U-yAbb9TJ!v_0*L}efGo0Dgo2P?9gkpUIA$`RY>0eRlvU?gS{9bq#0M*T"
        "yF}r3hapRkSZFO@@epf2+2KyQ#qH|9#YUv+^zk<fK0xaF~Ts!K<2VtPz&B&9xM?q<rZ4iZFTo`@<clfR_tS5Y3k$h``5"
        "-Kc_TXnXXt<h;`007Tw=b8qa^TZ1JVBQe~AY&4GrIBaDVjbopY0-&I(TJ=a<|{`g5O6l)6-#G4006jOC{;Qg^6ySe7$a"
        "{z+1B1>5xMpPq5OGO`$v%+>xKOTFDZ?^z9&#Gv%dP_;{!rb#LZ?NL=$AwR0kL~0D`k@b@G@#u|<&s7W!uJ0vraMm`BR@"
        "DG=YsT1!$Pb6Yh&99O8d&O|XR>5kcKyp%3Q2EF=a@KA=Q5?7QP{=>2r(^1Z?0Im>K;1ogv^-Dm6Z$ji$004j4$h^GBzr"
        "CLG7v7uxs01)C@`X+kInGH}rRCVv|GDC%RyVqYRk^Jlo}ht?004^1^BEV4NaDZ9(EIy1i{qF<=t#Bb4kr>829}_U)ex5"
        "GOGG3p5dpdvXOiJM!Y+3YMKNfd7K!ija=XQB0I4b&e^yZJymncTy`gwc#uP#0lKi-?2jMy_?J?w_lFR9YBTk)7k5Bb-y"
        "M2nq3zl%e3zj?3VwGB08UyPAWM6~j>Hq>%LHy+w&4}`uyV{pX+IpDJ00648{zygo8Fm{6oAqT?i;rG|L$<9}K3yFB6i6"
        "Z2>|7o!qOi@6`uE`er~9>k0002fx)PQf+CPvNgaNURaQ~2P<2qmK1t-;~z-e&jBG~71V0;tl$*XYRWIQ{p?WD%sioO!#"
        "?C&2z05j)`03^b)bgXjA26PRTPpJU39eOF7GCgAiv%`F{n9J(b$%f;{VR&<!pR4LNOGfpIZK4##uZ7H37o<Mex1*1QZp"
        "`da9h%$g`O32i6Ej--N?u^a^cC*X003!cP&RV3ouwTT6jZy1gfbozxx2^~`#o>At1sP+U@%_ojur}y%fCw$>6C2f002*"
        "8I2#bd2i3QMZ_G{*<)t=qYHER1SFf@(N1%V*81qK=tI5-pV{OJ&)*912%!{i@IrsDSW5=lm!QB{p"
    ),
    dtype=">u8",
).astype(np.uint64)
"""A number for each byte, of the `gearhash` crate: https://docs.rs/gearhash."""


def cut(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The chunks of a file that comes in pieces."""
    held, ends, looked = bytearray(), list[int](), 0
    for piece in pieces:
        held += piece
        if len(held) - looked < BLOCK:
            continue
        ends, looked = [*ends, *_ends(held, looked)], len(held)
        begun = 0
        for end in _cuts(ends, looked, last=False):
            yield bytes(held[begun:end])
            begun = end
        del held[:begun]
        looked -= begun
        ends = [end - begun for end in ends if end > begun]
    ends, begun = [*ends, *_ends(held, looked)], 0
    for end in _cuts(ends, len(held), last=True):
        yield bytes(held[begun:end])
        begun = end


def _cuts(ends: list[int], size: int, *, last: bool) -> Iterator[int]:
    """Where chunks end among ``size`` bytes, of which all that may be ends are known."""
    begun, at = 0, 0
    while size - begun >= (CHUNK_BYTES if not last else 1):
        while at < len(ends) and ends[at] < begun + LEAST:
            at += 1
        end = min(ends[at] if at < len(ends) else size, begun + CHUNK_BYTES, size)
        yield end
        begun = end


def _ends(data: bytearray, begin: int) -> list[int]:
    """Behind which bytes from ``begin`` on a chunk may end."""
    whole, ends = np.frombuffer(data, np.uint8), list[int]()
    for at in range(begin, len(data), BLOCK):
        since = max(at - WINDOW + 1, 0)
        hashes = _hashes(whole[since : at + BLOCK])[at - since :]
        ends += (np.flatnonzero(hashes >> np.uint64(64 - ZEROS) == 0) + at + 1).tolist()
    return ends


def _hashes(data: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The hash at each byte, of as many bytes before it as there are, and of `WINDOW` at most."""
    sums, span = TABLE[data], 1
    while span < WINDOW:
        # Of the last ``span`` bytes is known: so it is of those before them.
        sums[span:] += sums[:-span] << np.uint64(span)
        span *= 2
    return sums


def main() -> None:
    """Keep the list of the chunks of a file."""
    (file,) = Snapshot.from_bytes(sys.stdin.buffer.read(MANIFEST_BYTES)).files
    with closing(Workspace(Path(sys.argv[1]))) as workspace:
        parts = FileLayout(workspace.store, file.stored).parts(0, file.size)
        pieces = chain.from_iterable(part.pieces() for part in parts)
        chunks = [Chunk(chunk_hash(chunk), len(chunk)) for chunk in cut(pieces)]
        keep_chunks(workspace.store, file.sha256.hex, chunks)


if __name__ == "__main__":
    main()
