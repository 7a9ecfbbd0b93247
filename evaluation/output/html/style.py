"""The style sheet of the page: light or dark by the reader's setting, one column on a phone and two on a desktop.

Every text colour has a contrast of at least 4.5 with its background, every mark at least 3. The colours of stages
and lines are distinguishable with colour blindness (after Okabe & Ito 2008); waiting is grey.
"""

from hybrid_batch.evaluation.output.html.charts.confusion_table import SHADES

_LIGHT = {"card": "#ffffff", "right": "#1f6fb5", "wrong": "#c2500a"}
_DARK = {"card": "#1a2129", "right": "#5aa9e6", "wrong": "#f08b4b"}

_SHEET = """
:root{color-scheme:light dark;--ground:#f5f6f8;--card:#fff;--ink:#16202c;--soft:#56616f;--rule:#dde2e8;--track:#edf0f4;
--a:#1f6fb5;--b:#c2500a;--pale:#c9dcee;--whisker:#16202c;--c0:#0072b2;--c1:#c25b00;--c2:#008060;--c3:#b3447d;--c4:#8a6d00;
--c5:#5a55c4;--c6:#3d7f94;--c7:#6b6b6b;--w0:#7b8794;--w1:#9aa5b1;--w2:#b3bdc8;--w3:#ccd3db}
@media(prefers-color-scheme:dark){:root{--ground:#11161d;--card:#1a2129;--ink:#e8edf2;--soft:#9fabb8;--rule:#2e3844;
--track:#252e38;--a:#5aa9e6;--b:#f08b4b;--pale:#2b4258;--whisker:#f4f7fa;--c0:#56b4e9;--c1:#f39b4a;--c2:#2fbf95;
--c3:#e58abb;--c4:#d9b93b;--c5:#9f9bf5;--c6:#7cc5d9;--c7:#a5a5a5;--w0:#8996a3;--w1:#707d8a;--w2:#5a6673;--w3:#465260}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:28px 16px 48px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .35em;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.1rem;line-height:1.3;margin:0 0 .5em}
code{font:.93em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
h3{font-size:.95rem;margin:1.2em 0 .2em}
p{margin:.3em 0 .8em;max-width:75ch}
.lead{font-weight:600}
.soft,figcaption,summary,th,.axis{color:var(--soft)}
p.soft,caption{font-size:.87rem}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:18px;margin-top:16px;min-width:0}
.facts{display:flex;flex-wrap:wrap;gap:8px 30px;margin:0 0 18px}
.facts dt{color:var(--soft);font-size:.8rem;line-height:1.3}
.facts dd{margin:0;font-size:.93rem;line-height:1.4;overflow-wrap:anywhere}
.runs{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:8px 18px;margin-bottom:16px}
.cards{display:grid;gap:10px;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));margin:0}
.cards div{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:12px 16px}
.cards dt{color:var(--soft);font-size:.85rem}
.cards dd{margin:0;font-size:1.55rem;font-weight:650;line-height:1.25;overflow-wrap:anywhere}
.cards dd small{display:block;font-size:.8rem;font-weight:400;line-height:1.35;margin-top:2px;color:var(--soft)}
@media(min-width:900px){.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 16px}
.columns{display:grid;grid-template-columns:1fr 1fr;gap:0 32px;align-items:start}
.columns>.scroll+.scroll{margin-top:0}}
.note{border-left:4px solid var(--b)}
.note ul{margin:.2em 0;padding-left:1.2em;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding-bottom:4px}
th{font-weight:500;text-align:left;font-size:.85rem}
th,td{padding:4px 12px 4px 0;border-bottom:1px solid var(--rule);vertical-align:middle}
tbody tr:last-child>*{border-bottom:0}
tbody th{color:var(--ink);font-weight:400;font-size:.93rem;overflow-wrap:anywhere;min-width:8em;max-width:18em}
.names tbody th,.sums tbody th{white-space:nowrap;min-width:0;max-width:none}
.reasons tbody th{max-width:none}
.texts td{overflow-wrap:anywhere;font-size:.93rem}
.texts bdi{overflow-wrap:anywhere}
.runs td,.runs tbody th{min-width:5.5em;max-width:24em;overflow-wrap:normal}
.runs tbody th{white-space:nowrap}
.sums tbody tr:nth-last-child(-n+2)>*{font-weight:600}
.sums tbody tr:nth-last-child(2)>*{border-top:1px solid var(--soft)}
.sums tbody svg{width:12px;height:12px;vertical-align:-1px;margin-right:3px}
.n{text-align:right;white-space:nowrap}
td.n{font-size:.93rem}
th:last-child,td:last-child{padding-right:0}
.wide{width:100%;min-width:64px}
.ends{display:flex;justify-content:space-between;font-weight:400;font-size:.78rem}
.scroll{overflow-x:auto;max-width:100%}
.scroll+.scroll{margin-top:14px}
.tall{max-height:420px;overflow:auto}
details{margin-top:10px}
summary{cursor:pointer;padding:4px 0}
svg text{font-size:12px;fill:var(--ink)}
svg .axis{fill:var(--soft)}
.bar{display:block;width:100%;height:12px;overflow:visible}
.chart{display:block;width:100%;max-width:500px;height:auto;margin:6px auto 10px}
.matrix{table-layout:fixed;border-collapse:separate;border-spacing:2px}
.matrix th,.matrix td{padding:0;border:0;min-width:0}
.matrix td{height:34px;text-align:center;background:var(--track);font-size:.85rem;border-radius:2px}
.matrix tbody th{width:auto;max-width:none;padding-right:6px;text-align:right;font-size:.82rem;line-height:1.15;
overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.matrix tbody th,.matrix .corner{position:sticky;left:0;background:var(--card)}
.matrix thead th{vertical-align:bottom;text-align:center;font-size:.82rem;line-height:1}
.matrix thead span{display:inline-block;writing-mode:vertical-rl;transform:rotate(180deg);padding-top:4px;
white-space:nowrap}
.matrix .corner{width:7.6em;padding-right:6px;text-align:right}
.short thead span{writing-mode:horizontal-tb;transform:none;padding:0 0 4px}
.short .corner{width:3.4em}
.dense{min-width:560px}
.dense td{height:28px}
.small{border-spacing:1px;min-width:640px}
.small td{height:16px;border-radius:0}
.matrix.small th{font-size:10px;line-height:1}
.fine{border-spacing:0;min-width:900px}
.fine td{height:10px;border-radius:0}
.matrix.fine th{font-size:8.5px;line-height:1}
.matrix.fine{border-spacing:0}
.matrix.small .corner,.matrix.fine .corner{width:9em}
.shades{display:flex;flex-wrap:wrap;align-items:center;gap:4px;margin:10px 0 0}
.shades span{padding:1px 7px;border-radius:2px;font-size:.78rem}
.shades+.shades{margin-top:4px}
.shades .name{padding:1px 4px 1px 0;min-width:10.5em}
.track{fill:var(--track)}
.track-line{fill:none;stroke:var(--rule);stroke-width:1;vector-effect:non-scaling-stroke}
.dot{fill:none;stroke:var(--a);stroke-width:8;stroke-linecap:round;vector-effect:non-scaling-stroke}
.grid{stroke:var(--rule)}
.frame{fill:none;stroke:var(--soft)}
.ideal{stroke:var(--soft);stroke-dasharray:4 4}
.whisker{fill:none;stroke:var(--whisker);stroke-width:1.25;vector-effect:non-scaling-stroke}
.line{fill:none;stroke-width:2}
.fill-a{fill:var(--a)}
.fill-b{fill:var(--b)}
.fill-pale{fill:var(--pale)}
.fill-quiet{fill:var(--soft);fill-opacity:.5}
.key{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;margin:6px 0 10px;padding:0;font-size:.85rem}
.key svg{width:12px;height:12px;vertical-align:-1px;margin-right:5px}
.search{margin-top:18px}
.search label span{display:block;font-size:.95rem;font-weight:600;margin-bottom:4px}
.search input{width:100%;font:inherit;color:var(--ink);background:var(--ground);border:1px solid var(--soft);
border-radius:6px;padding:7px 10px}
.search input::placeholder{color:var(--soft);opacity:1}
.groups{display:flex;flex-wrap:wrap;gap:0 22px}
.groups details{flex:0 1 auto;margin-top:2px;min-width:0;max-width:100%}
.groups details[open]{flex:0 0 100%}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(128px,1fr));gap:14px}
.gallery figure{margin:0;font-size:.82rem;line-height:1.35;overflow-wrap:anywhere;min-width:0}
.gallery img{display:block;width:100%;aspect-ratio:1;object-fit:contain;background:var(--track);border-radius:6px;
margin-bottom:4px}
.gallery.little{grid-template-columns:repeat(auto-fill,minmax(84px,1fr));margin-top:14px}
@media(max-width:480px){main{padding:18px 8px}section{padding:14px 10px}.runs{padding:6px 10px}table{font-size:13px}
.cards{grid-template-columns:1fr 1fr}.cards div{padding:10px 12px}.cards dd{font-size:1.3rem}
.facts{gap:6px 22px}th,td{padding-right:7px}
tbody th{min-width:7em}.columns>*+*{margin-top:14px}td.n,th,tbody th,.texts td,.gallery figure{font-size:12.5px}
svg text{font-size:15px}.narrow tbody th{min-width:4em}.narrow th,.narrow td{padding-right:5px}
.sums tbody th{white-space:normal}.matrix{border-spacing:1px}
.matrix .corner{width:5em}.short .corner{width:3em}
.matrix td{font-size:11px}.matrix tbody th,.matrix thead th{font-size:11px}}
@media print{section{break-inside:avoid}body{background:#fff}}
"""


def _mixed(ground: str, colour: str, share: float) -> str:
    """`share` of a colour on a ground, all as #rrggbb."""
    pairs = ((int(ground[at : at + 2], 16), int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(below + (above - below) * share):02x}" for below, above in pairs)


def _ink(ground: str) -> str:
    """Black or white, whichever has the larger contrast with the ground: at least 4.58 (WCAG 2)."""
    channels = [int(ground[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000" if (luminance + 0.05) ** 2 >= 1.05 * 0.05 else "#fff"


def _shades(theme: dict[str, str]) -> str:
    rules = []
    for kind in ("right", "wrong"):
        for step in range(1, SHADES + 1):
            ground = _mixed(theme["card"], theme[kind], 0.08 + 0.92 * step / SHADES)
            rules.append(f".shaded .{kind}-{step}{{background:{ground};color:{_ink(ground)}}}")
    return "".join(rules)


def _colours() -> str:
    places = "".join(
        f".fill-{place}{{fill:var(--c{place})}}.line-{place}{{stroke:var(--c{place})}}" for place in range(8)
    )
    waits = "".join(f".fill-wait-{place}{{fill:var(--w{place})}}" for place in range(4))
    return places + waits


STYLE = f"{_SHEET}{_colours()}\n{_shades(_LIGHT)}\n@media(prefers-color-scheme:dark){{{_shades(_DARK)}}}\n"
