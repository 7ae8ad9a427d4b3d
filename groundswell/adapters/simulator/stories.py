"""What the world gets excited about: the stories that surges tell, and the spam that looks like one.

Everything here is invented, so that nobody takes a screenshot of the demo for news.
"""

from __future__ import annotations

from groundswell.adapters.simulator.topics import Story

STORIES = (
    Story(
        "hashtag:harborquake", written="HarborQuake",
        lines=(
            "Did anyone else in {where} just feel that? {e}", "Whole building swayed for {secs} seconds {e}",
            "Lamps still swinging in {where}. Everyone OK? {e}", "{e} chandelier in the lobby is doing a dance",
            "Cat knew {secs} seconds before I did {e}",
            "Trains stopped for track checks in {where}, stay patient {e}",
            "First reading says 4.{secs}, shallow, no tsunami risk according to the harbour office {e}",
            "Books off the shelf in {where}, nothing worse. Check on your neighbours {e}",
            "{e} map and updates here {~harborledger.example/live/harborquake}",
            "Felt it on the 14th floor in {where}, legs like jelly {e} 😳",
        ),
        phrases={"where": ("{=Port Meridian}", "Eastwick", "the old town", "Ravensby", "the harbour flats"),
                 "secs": ("2", "3", "4", "5", "6", "8")},
    ),
    Story(
        "ticker:AURM",
        lines=(
            "{e} halted, up {n}% before the halt. What did I miss?", "Somebody is very short {e} and very sorry",
            "{e} volume already {n} times the daily average and it is not even noon",
            "Filing just dropped: {e} signs the port electrification deal. Margins next.",
            "Sold {e} yesterday. Of course I sold {e} yesterday.", "Borrow on {e} is gone everywhere",
            "{e} resumes and gaps again. This is not a drill.", "What is {e} and why is my barber asking",
            "Options chain on {e} looks like a Christmas tree {#options}",
            "Careful with {e} here, spreads are a mile wide",
        ),
        phrases={"n": ("18", "22", "31", "6", "9", "40")},
    ),
    Story(
        "name:Luma Vale", written="Luma Vale",
        lines=(
            "{e} JUST DROPPED A WHOLE ALBUM AT {hour}", "track {n} on the new {e} record. I am on the floor.",
            "{e} surprise release and I have work in {n} hours {#LumaVale}",
            "not {e} thanking her sound engineer by name 😭",
            "the strings on track {n}?? {e} what have you done",
            "ranking every song on the new {e}, starting with {n}",
            "{e} really said no singles, no warning, only tears",
            "Listening party in my kitchen, {e} loud, neighbours invited",
            "New {e} is out, stream it here {~lumavale.example/listen}",
        ),
        phrases={"hour": ("MIDNIGHT", "3AM", "NOON ON A TUESDAY"), "n": ("2", "3", "4", "5", "7", "9")},
    ),
    Story(
        "hashtag:ngu", written="NGU",
        lines=(
            "NINETY-FOURTH MINUTE. {e} I CANNOT BREATHE", "{e} what a header, what a night, what a club",
            "Three players on the line and it STILL went in {e}", "My street is screaming {e}",
            "{=Northgate United} you absolute lunatics {e}", "Scarf ruined, voice gone, worth it {e}",
            "From 2-0 down. Away. With ten. {e}", "{who} take a bow {e} 👏👏", "Pub just emptied into the road {e}",
            "{who} said in August this team had heart. He was right {e}",
        ),
        phrases={"who": ("Okafor", "the gaffer", "young Adeyemi", "that substitute keeper")},
    ),
    Story(
        "name:Open Weave", written="Open Weave",
        lines=(
            "{e} 5 is out and the migration guide is {n} lines. Miracle.",
            "Benchmarked {e} against last year's release: {n}x on joins",
            "The {e} licence stays open. I could cry.",
            "Upgraded prod to {e} 5 on a Friday. Ask me Monday. {#opensource}",
            "{e} maintainers answering every single question in the thread, heroes",
            "Anyone tried the new {e} planner on ARM yet?", "{e} release stream has {n}00 viewers, for a database",
            "Notes on what changed in {e} 5 {~github.com/openweave/weave/releases}",
        ),
        phrases={"n": ("3", "4", "6", "9", "12")},
    ),
    Story(
        "hashtag:nova9", written="NOVA9", lang="ko",
        lines=(
            "{e} 컴백 티저 떴다!!!!", "이번 컨셉 미쳤다 진짜 {e}", "{e} 음원 순위 {n}위 진입 축하해 ㅠㅠ",
            "무대 보고 소리 질렀어요 {e}",
            "{e} 스트리밍 중… 오늘 잠은 없다", "안무 {n}초 구간 무한 반복 중 {e} 🔥",
            "{e} 콘서트 예매 성공한 사람 손 🙋",
            "엔딩 요정 누구였냐 진짜 {e}",
        ),
        phrases={"n": ("1", "2", "3", "7", "15")},
    ),
    Story(
        "hashtag:stormwatch", written="StormWatch",
        lines=(
            "Gusts of {n} km/h at the pier, spray over the road {e}", "Power flickering in {where} {e}",
            "Ferry cancelled until tomorrow, hot soup at the terminal {e}",
            "Tree down across {where}, crews on site {e}",
            "The sound of the wind in {where} right now {e}", "If you can work from home tomorrow, do {e}",
            "Wave buoy just reported {n} metres, that is not a typo {e}",
            "Shelter open at the sports hall, pets welcome {e}",
            "Live gauges {~tidewatch.example/gauges/live} {e}", "Sandbags free at the depot until midnight {e}",
        ),
        phrases={"n": ("9", "11", "104", "118", "131"), "where": ("Eastwick", "Orchard Row", "Saltmarsh",
                       "Canal Street")},
    ),
    Story(
        "domain:skywardobs.example", written="skywardobs.example/live/first-light",
        lines=(
            "First light from the new mirror!! {e}", "Stop scrolling and look at this galaxy {e}",
            "I have worked {n} years for this image {e}", "You can see the dust lanes. From the GROUND. {e}",
            "Zoom into the lower left corner {e}", "Showing this to every child I know {e}",
            "The control room is crying, I am crying {e}", "{#Astronomy} people, today is a holiday {e}",
        ),
        phrases={"n": ("six", "nine", "eleven", "fifteen")},
    ),
    Story(
        "hashtag:人工衛星", written="人工衛星", lang="ja",
        lines=(
            "打ち上げ成功！！ {e}", "雲の切れ間から見えた… 鳥肌 {e}", "管制室の拍手で泣いた {e}",
            "次の通過は{n}分後、北西の空です {e}",
            "ベランダから肉眼で見えた！ {e}", "子どもと一緒にカウントダウンした {e}", "分離確認、よかった…！ {e}",
            "{n}年越しの夢 {e} 🚀",
        ),
        phrases={"n": ("七", "十", "三", "九十")},
    ),
    Story(
        "ticker:HLX",
        lines=(
            "{e} recall is bigger than they said: {n} models", "Down {n}% on {e} and it is still falling",
            "The {e} statement does not answer the only question that matters", "Averaged down on {e}. Send help.",
            "Analyst cuts {e} to hold after the recall, which is analyst for run",
            "{e} dealers say phones ring nonstop",
            "Remember when {e} could do no wrong? That was {day}.",
            "Recall list and what owners should do {~harborledger.example/markets/recall-list} {e}",
        ),
        phrases={"n": ("6", "9", "12", "14", "17"), "day": ("Monday", "last week", "this morning")},
    ),
    Story(
        "hashtag:apagón", written="Apagón", lang="es",
        lines=(
            "Sin luz en todo el barrio {e}", "{e} el ascensor parado con {quien} dentro",
            "Semáforos apagados, id con cuidado {e}",
            "Cenando con velas, muy romántico si no fuera por {quien} {e}", "¿Vuelve o no vuelve? {e}",
            "Se ven las estrellas desde el balcón {e} ✨", "La compañía dice que en {n} horas {e}",
            "Radio a pilas, por fin tu momento {e}",
            "Ya hay luz en la zona norte, paciencia {e}",
        ),
        phrases={"quien": ("el vecino", "mi suegra", "dos perros"), "n": ("dos", "tres", "cinco")},
    ),
    Story(
        "name:Halden Bridge", written="Halden Bridge",
        lines=(
            "{e} closed both ways, do not even try", "A cargo barge has touched a pillar of {e}, nobody hurt",
            "{n} buses turning around at {e}, drivers being saints",
            "Engineers are on {e} with lamps and ropes right now",
            "Walked home over the other bridge, {n} km, new friend made. {e} is still shut.",
            "One lane of {e} may open at {hour}",
            "The view of {e} from the night ferry, all blue lights {#PortMeridian}",
            "Detours around {e} {~meridianmetro.example/travel/status}",
        ),
        phrases={"n": ("four", "six", "nine"), "hour": ("six", "midnight", "noon")},
    ),
    Story(
        "hashtag:golaço", written="Golaço", lang="pt",
        lines=(
            "DE BICICLETA AOS {n} DO SEGUNDO TEMPO {e}", "Narrador perdeu a voz e eu também {e}",
            "{e} pode entregar o prêmio já",
            "Meu pai chorando, meu vizinho chorando, eu chorando {e}", "Revi {n} vezes e ainda não acredito {e}",
            "Que jogo é esse, pelo amor {e} 🔥", "O goleiro aplaudiu. O GOLEIRO {e}",
            "Ninguém dorme hoje nesta cidade {e}",
        ),
        phrases={"n": ("40", "43", "45", "12", "30")},
    ),
    Story(
        "hashtag:chessfinal", written="ChessFinal",
        lines=(
            "Queen sacrifice on move {n}!!! {e}", "The engine hated it for {n} minutes and now it loves it {e}",
            "She has {n} seconds and a losing king walk that wins {e}", "Commentators silent. All of them. {e}",
            "My grandfather called to explain the rook lift {e}", "Draw offered, draw REFUSED {e}",
            "I do not even play chess and I am standing {e}",
            "Board and clocks live {~rookandriver.example/live/final} {e}",
        ),
        phrases={"n": ("17", "23", "29", "31", "40")},
    ),
    Story(
        "hashtag:चक्रवात", written="चक्रवात", lang="hi",
        lines=(
            "तेज़ हवाएँ शुरू हो गई हैं, घर में रहें {e}", "बिजली गई, टॉर्च और चाय साथ {e}",
            "समुद्र किनारे मत जाइए {e} 🙏",
            "राहत केंद्र की सूची यहाँ {~prabhatpatra.example/live/rahat} {e}", "अगले {n} घंटे भारी हैं {e}",
            "पड़ोसियों का हाल पूछ लीजिए {e}",
            "ट्रेनें रद्द, फ़ोन चार्ज कर लें {e}",
        ),
        phrases={"n": ("छह", "आठ", "बारह")},
    ),
    Story(
        "hashtag:bakeoff", written="BakeOff",
        lines=(
            "HE DROPPED THE {what} {e}", "Not the soggy bottom in the semi-final {e}", "{e} that {what} was robbed",
            "I would die for {who} and her {what} {e}", "The handshake!!! {e}",
            "{who} proving dough in a sauna is genius {e}",
            "My mum rates this {what} a four {e} 💀", "Everyone crying, including the judge, including me {e}",
        ),
        phrases={"what": ("croquembouche", "meringue tower", "pork pie", "custard"), "who": ("Maureen", "Tunde",
                          "Ilse")},
    ),
    Story(
        "hashtag:مهرجان_النور", written="مهرجان_النور", lang="ar",
        lines=(
            "أضواء الميناء الليلة خيال {e} ✨", "الزحمة جميلة لأول مرة {e}", "صورت {n} صورة ولم تكف واحدة {e}",
            "الأطفال يركضون خلف الفوانيس {e}", "موسيقى ورائحة قهوة وبحر {e}", "من فاته اليوم فليأت غدا {e}",
            "برنامج الليلة {~almina.example/thaqafa/nur} {e}",
        ),
        phrases={"n": ("مئة", "خمسين", "ألف")},
    ),
    Story(
        "hashtag:tidalpool", written="TidalPool",
        lines=(
            "Council did it, the pool is saved, {vote} votes {e}", "Swimming at dawn to celebrate, who is in? {e}",
            "{years} years of petitions. People power. {e}",
            "Water is {temp} degrees and I have never been happier {e}",
            "The oldest member just did a cannonball {e}",
            "Photos from the steps {~meridianmetro.example/news/what-we-know} {e}",
            "I learned to swim there. So will my daughter {e} ❤️", "Towels down, banners up {e}",
        ),
        phrases={"vote": ("9-4", "11-2"), "years": ("Four", "Six", "Ten"), "temp": ("11", "12", "14")},
    ),
    Story(
        "hashtag:radweg", written="Radweg", lang="de",
        lines=(
            "Er ist offen!!! {e}", "Erste Fahrt, {n} Minuten bis zur Arbeit {e}",
            "Sogar der Bürgermeister ist gefahren, mit Helm {e}",
            "Kuchen an Kilometer {n}, danke an den Verein {e}", "Nach zwölf Jahren Planung {e} 🎉",
            "Kinder, Lastenräder, Omas, alle da {e}",
            "Karte und Strecke {~hafenkurier.example/stadt/radweg} {e}",
        ),
        phrases={"n": ("3", "7", "9", "14")},
    ),
    Story(
        "ticker:BTC",
        lines=(
            "{e} just ate through {n} months of resistance in an hour", "Liquidations everywhere, {e} does not care",
            "{e} wick of the year, my stop is a memory", "{n} exchanges slow, {e} order books thin as paper",
            "Group chat alive for the first time since winter because of {e}",
            "{=Bitcoin} maxis being normal about this, no. {e}",
            "Took profit on {e}, immediately regretted it, as is tradition",
            "{e} dominance up {n}% since breakfast {#crypto}",
        ),
        phrases={"n": ("2", "3", "5", "6", "9")},
    ),
)  # fmt: skip

SPAM = (
    "🚀🚀 {e} next 100x, join the room before it closes 🚀🚀", "I turned $50 into $9,000 with {e}, ask me how",
    "{e} {e} {e} LAST CHANCE", "FREE airdrop for the first 500, {e} holders only 👇",
    "insiders are loading {e}, whitelist open now", "Don't say I didn't warn you. {e} 💎🙌",
)  # fmt: skip
"""Lines of spam bursts, whatever they push."""

SPAM_ENTITIES = ("ticker:MOONX", "hashtag:freemint", "ticker:GEMZ", "hashtag:airdropnow", "ticker:PUMPD")

GENERIC = (
    "Everyone is talking about {e} and I only just woke up", "{e}?? What happened",
    "Explain {e} to me like I am five",
    "My whole feed is {e} right now", "{e} was not on my list for today", "Reading everything about {e} I can find",
    "OK the {e} thing is real", "Three group chats, one subject: {e}", "I go to lunch for an hour and {e} explodes",
    "Calm thread about {e}, for once", "{e}. That's it. That's the post.", "Refreshing for {e} news every minute",
)  # fmt: skip
"""Lines for a surge whose entity has no story of its own."""
