"""What one might ask to find the simulated network's stories: in other words, in their words, in a part of them."""

from __future__ import annotations

STORY_QUESTIONS: dict[str, tuple[str, ...]] = {
    "hashtag:harborquake": (
        "earthquake shaking the building",
        "harborquake",
        "tsunami risk",
        "is everyone safe after the tremor",
    ),
    "ticker:AURM": ("$AURM", "trading halted short squeeze", "port electrification deal"),
    "name:Luma Vale": (
        "new album surprise release",
        "luma vale",
        'name:"Luma Vale"',
        "songs from the singer's record tonight",
    ),
    "hashtag:ngu": ("last minute goal header", "#NGU", "northgate united", "soccer fans celebrate victory"),
    "name:Open Weave": ("open weave", "open source software release"),
    "hashtag:nova9": ("#nova9", "NOVA9"),
    "hashtag:stormwatch": (
        "strong wind and waves at the pier",
        "power outage tree fallen",
        "stormw",
        "ferry cancelled",
    ),
    "domain:skywardobs.example": (
        "telescope image of a galaxy",
        "skywardobs.example",
        "https://skywardobs.example/live/first-light",
    ),
    "hashtag:人工衛星": ("打ち上げ成功", "人工衛星", "🚀 年越しの夢"),
    "ticker:HLX": ("product recall stock falls", "$HLX", "analyst downgrade after recall"),
    "hashtag:apagón": ("sin luz en el barrio", "apagon", "semaforos apagados"),
    "name:Halden Bridge": ("bridge closed after ship collision", '"halden bridge"', "barge touched a pillar"),
    "hashtag:golaço": ("golaco", "meu pai chorando", "narrador perdeu a voz"),
    "hashtag:chessfinal": ("chess champion sacrifices the queen", "chessfi", '"rook lift"', "draw refused"),
    "hashtag:चक्रवात": ("चक्रवात", "तेज़ हवाएँ", "बिजली गई"),
    "hashtag:bakeoff": ("baking competition dessert judge", "#bakeoff", "soggy bottom"),
    "hashtag:مهرجان_النور": ("أضواء الميناء", "#مهرجان_النور"),
    "hashtag:tidalpool": ("swimming pool saved by the council", "tidalpool", "people power petition"),
    "hashtag:radweg": ("radweg", "erste fahrt minuten bis zur arbeit", "bürgermeister mit helm"),
    "ticker:BTC": ("$BTC", "bitcoin", "cryptocurrency price rally liquidations"),
}
"""Entity key of each story to its questions."""
