"""License ids: what the HF Hub and SPDX call licenses.

Of the Hub: https://huggingface.co/docs/hub/repositories-licenses. SPDX's come with ``packaging``.
"""

from __future__ import annotations

from zoo.domain.near import near_names

__all__ = ["HUB", "remark"]

IDS = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
grok2-community gemma unknown other
"""
HUB = frozenset(IDS.split())
"""Those of the Hub."""
NEAR = 0.65
"""Of ``mit`` two letters may have changed places."""


def remark(text: str) -> str:
    """What to tell whoever writes ``text`` for a license that neither knows, with near ids; empty
    if one does.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if text.lower() in HUB:
        return ""
    try:
        canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        near = near_names(text.lower(), sorted(HUB), most=3, cutoff=NEAR)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"'{text}' is no license id of the HF Hub or SPDX, and kept as it is{meant}"
    return ""
