"""The style sheet of the page: light or dark by the reader's setting, one column on a phone and two on a desktop.

Every text colour has a contrast of at least 4.5 with its background, every mark at least 3. The colours of stages
and lines are distinguishable with colour blindness (after Okabe & Ito 2008).
"""

STYLE = """
:root{color-scheme:light dark;--ground:#f5f6f8;--card:#fff;--ink:#16202c;--soft:#56616f;--rule:#dde2e8;--track:#edf0f4;
--a:#1f6fb5;--b:#c2500a;--whisker:#16202c;--c0:#0072b2;--c1:#c25b00;--c2:#008060;--c3:#b3447d;--c4:#8a6d00;--c5:#5a55c4;
--c6:#3d7f94;--c7:#6b6b6b;--inked:#fff}
@media(prefers-color-scheme:dark){:root{--ground:#11161d;--card:#1a2129;--ink:#e8edf2;--soft:#9fabb8;--rule:#2e3844;
--track:#252e38;--a:#5aa9e6;--b:#f08b4b;--whisker:#f4f7fa;--c0:#56b4e9;--c1:#f39b4a;--c2:#2fbf95;--c3:#e58abb;--c4:#d9b93b;
--c5:#9f9bf5;--c6:#7cc5d9;--c7:#a5a5a5;--inked:#0c1116}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:20px 14px 40px}
h1{font-size:1.6rem;line-height:1.2;margin:.2em 0}
h2{font-size:1.1rem;margin:0 0 .2em}
h3{font-size:.95rem;margin:1.2em 0 .2em}
p{margin:.3em 0 .8em}
.soft,figcaption,summary,th,.axis{color:var(--soft)}
section{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:16px;margin-top:14px;min-width:0}
.cards{display:grid;gap:10px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));margin-top:14px}
.cards div{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:12px 16px}
.cards dt{color:var(--soft);font-size:.85rem}
.cards dd{margin:0;font-size:1.65rem;font-weight:650;line-height:1.25}
.cards dd small{display:block;font-size:.8rem;font-weight:400;color:var(--soft)}
@media(min-width:900px){.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 14px}}
.note{border-left:4px solid var(--b)}
.note ul{margin:.2em 0;padding-left:1.2em}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding-bottom:4px}
th{font-weight:500;text-align:left;font-size:.85rem}
th,td{padding:3px 10px 3px 0;border-bottom:1px solid var(--rule);vertical-align:middle}
tbody th{color:var(--ink);font-size:inherit;overflow-wrap:anywhere;min-width:6.5em;max-width:16em}
.n{text-align:right;white-space:nowrap}
td.n{font-size:.93rem}
th:last-child,td:last-child{padding-right:0}
.wide{width:45%;min-width:44px}
.scroll{overflow-x:auto;max-width:100%}
.tall{max-height:420px;overflow:auto}
details{margin-top:10px}
summary{cursor:pointer;padding:4px 0}
svg text{font-size:12px;fill:var(--ink)}
svg .axis{fill:var(--soft)}
.bar{display:block;width:100%;height:12px;border-radius:3px}
.chart{display:block;width:100%;max-width:520px;height:auto;margin:6px auto}
.map{display:block;margin:6px auto}
.map text{font-size:11px}
.fine text{font-size:8.5px}
.map .inked{fill:var(--inked)}
.track{fill:var(--track)}
.grid{stroke:var(--rule)}
.frame{fill:none;stroke:var(--soft)}
.ideal{stroke:var(--soft);stroke-dasharray:4 4}
.whisker{fill:none;stroke:var(--whisker);stroke-width:1.5;vector-effect:non-scaling-stroke}
.line{fill:none;stroke-width:2}
.right{fill:var(--a)}
.wrong{fill:var(--b)}
.fill-a{fill:var(--a)}
.fill-b{fill:var(--b)}
.fill-quiet{fill:var(--soft);fill-opacity:.5}
.key{display:flex;flex-wrap:wrap;gap:4px 14px;list-style:none;margin:6px 0;padding:0;font-size:.85rem}
.key svg{width:12px;height:12px;vertical-align:-1px;margin-right:5px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(128px,1fr));gap:12px}
.gallery figure{margin:0;font-size:.82rem;overflow-wrap:anywhere}
.gallery img{display:block;width:100%;aspect-ratio:1;object-fit:contain;background:var(--track);border-radius:8px}
footer{margin-top:18px;font-size:.85rem}
@media(max-width:480px){main{padding:14px 8px}section{padding:12px 10px}table{font-size:13px}th,td{padding-right:5px}
tbody th{min-width:4.4em}.wide{width:30%}td.n,th,.gallery figure{font-size:12.5px}}
@media print{section{break-inside:avoid}}
"""
STYLE += "".join(
    f".fill-{place}{{fill:var(--c{place})}}.line-{place}{{stroke:var(--c{place})}}\n" for place in range(8)
)
