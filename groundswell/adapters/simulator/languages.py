"""What people write about in the other languages of the world, and how much of it there is."""

from __future__ import annotations

from groundswell.adapters.simulator import english
from groundswell.adapters.simulator.topics import Language, Topic

SPANISH = Topic(
    name="diario",
    lines=(
        "Otra vez {retraso} y yo con {cosa} en la mano",
        "Hoy {persona} me ha dicho que {dicho}. Necesito un café.",
        "Qué partidazo, {equipo}. Me tiemblan las manos {tag}",
        "Hoy en el mercado: {cosa}, {cosa} y demasiadas opiniones {tag}",
        "El concierto de {=Luma Vale} fue de otro planeta {tag}",
        "¿Alguien más sin luz en el barrio? {tag}",
        "{ticker} subiendo y mi cuñado insoportable",
        "Nuevo artículo, muy bien contado {enlace}",
        "Mi abuela dice que {dicho} y nunca se equivoca",
        "Buenos días a todos menos a {persona}",
        "Llevo {cuanto} esperando el autobús {tag}",
        "La luz de esta tarde en la playa, sin filtros {tag}",
        "Recomendadme una serie que no termine mal, por favor",
        "El menú del día por 12 euros todavía existe y está en mi calle {tag}",
    ),
    lists={
        "tag": "{#FelizLunes} {#fútbol} {#CienciaEnEspañol} {#música} {#Barrio} {#ElClásico}",
        "ticker": "{$BTC} {$TSLA} {$ETH}",
        "enlace": "{~diariodelpuerto.example/ciencia/deshielo} {~diariodelpuerto.example/cultura/agenda}",
        "equipo": "{#Atleti} {#LosHalcones} {=Northgate United}",
    },
    phrases={
        "retraso": ("el tren con retraso", "lluvia", "atasco en la ronda", "reunión sorpresa", "lunes"),
        "cosa": ("un paraguas roto", "tomates de verdad", "churros", "queso de cabra", "el libro a medias", "flores"),
        "persona": ("mi jefa", "el vecino del quinto", "mi hermano", "el gato", "la impresora"),
        "dicho": ("va a llover", "eso antes no pasaba", "el domingo se cocina", "mañana será otro día"),
        "cuanto": ("veinte minutos", "media hora", "una vida", "tres canciones"),
    },
)  # fmt: skip

PORTUGUESE = Topic(
    name="diario",
    lines=(
        "Bom dia só pra quem já tomou café {tag}",
        "Aí {pessoa} disse que {fala} e eu acreditei. De novo.",
        "Que gol foi esse, meu Deus {tag}",
        "Chovendo {quanto} em {lugar} e eu de chinelo",
        "Fila do pão de queijo dando a volta no quarteirão {tag}",
        "{=Luma Vale} confirmou show no Brasil, não estou bem {tag}",
        "Alguém me explica por que {ticker} caiu se todo mundo comprou?",
        "Que texto lindo, leiam {leia}",
        "Trabalhando de casa: {pessoa} latindo em estéreo",
        "Meu time: {placar}. Minha saúde: pior.",
        "Ônibus cheio, fone sem bateria, segunda-feira completa",
        "Minha avó fez bolo de fubá e o dia se resolveu",
        "Já é {hora} e eu ainda não respondi ninguém",
        "Pôr do sol em {lugar} não precisa de filtro {tag}",
    ),
    lists={
        "tag": "{#SegundaFeira} {#Brasileirão} {#BomDia} {#música} {#LumaNoBrasil} {#ciência}",
        "ticker": "{$BTC} {$PETR4} {$ETH}",
        "leia": "{~gazetadolitoral.example/ciencia/corais} {~gazetadolitoral.example/cidade/obras}",
        "lugar": "Recife Floripa {=Port Meridian} Santos BH",
    },
    phrases={
        "pessoa": ("o cachorro", "minha irmã", "o síndico", "meu chefe", "a vizinha"),
        "fala": ("era rapidinho", "não ia chover", "o trem passa já", "era só um áudio"),
        "quanto": ("canivete", "desde ontem", "há três dias", "fraquinho"),
        "placar": ("0 a 0", "2 a 1 de virada", "perdeu nos acréscimos", "empatou de novo"),
        "hora": ("quinta", "meio-dia", "dezembro", "sexta e eu nem vi"),
    },
)  # fmt: skip

JAPANESE = Topic(
    name="nichijou",
    lines=(
        "{時間}の{場所}、静かで好き {tag}",
        "今日のお昼は{食べ物}。間違いなかった{気分}",
        "電車が{遅れ}。みなさん足元お気をつけて {tag}",
        "{食べ物}を作ったら猫に見られてる{気分}",
        "新刊読み終わった、余韻がすごい {tag}",
        "推しが尊くて仕事にならない {tag}",
        "{場所}の桜、もう少しで満開です {tag}",
        "締め切りまであと{数}日。寝ます{気分}",
        "ライブ最高だった… 声出しすぎて喉が終わった {tag}",
        "この記事わかりやすい {記事}",
        "{ticker} の動き、さすがに心臓に悪い",
        "雨の日は{食べ物}に限る",
        "洗濯物を干した瞬間に降り出すの、才能だと思う{気分}",
        "アップデートしたら設定が全部消えた。おはようございます",
    ),
    lists={
        "tag": "{#おはよう} {#東京} {#今日の空} {#NOVA9} {#ラーメン} {#読書} {#猫のいる暮らし} {#鉄道}",
        "記事": "{~asagiri.example/kagaku/seiun} {~asagiri.example/machi/matsuri}",
        "ticker": "{$BTC} {$NVDA}",
    },
    phrases={
        "時間": ("朝五時", "夕方", "雨上がり", "日曜の昼"),
        "場所": ("川沿い", "喫茶店", "神社", "図書館", "港"),
        "食べ物": ("味噌ラーメン", "卵かけご飯", "カレーうどん", "おにぎり", "たい焼き"),
        "遅れ": ("十分遅れ", "止まってる", "珍しく空いてる", "満員"),
        "気分": ("。", "笑", "…！", "😋", "🥲", "✨"),
        "数": ("一", "二", "三", "五"),
    },
)  # fmt: skip

GERMAN = Topic(
    name="alltag",
    lines=(
        "{zug}. Ich habe Kaffee, mir kann nichts passieren.",
        "Gestern hat {wer} \"{satz}\" gesagt und ich denke seit Stunden darüber nach",
        "Sonntag, Brötchen, Radio. Mehr brauche ich nicht {tag}",
        "Kann mir jemand erklären, warum {frage}?",
        "Heute {anzahl} Kilometer mit dem Rad, {wetter} {tag}",
        "Tolles Stück, lest das {link}",
        "{ticker} bei minus vier Prozent, ich gehe in den Garten",
        "Die neue Platte von {=Luma Vale} läuft hier in Dauerschleife {tag}",
        "Im Dorf gibt es jetzt einen Bücherschrank. Zivilisation!",
        "Tatort-Abend mit {wer}. Der Gärtner war es wieder nicht {tag}",
        "Nachbarn grillen. Ich rieche alles. Ich sehe nichts. Ich leide.",
        "{wetter} und ich habe die Wäsche draußen, natürlich",
        "Fahrkarte kostet jetzt 3,80 €. Für {anzahl} Stationen. {tag}",
    ),
    lists={
        "tag": "{#Feierabend} {#Klima} {#Straße} {#Bahn} {#Tatort} {#Fahrrad} {#Bundesliga}",
        "ticker": "{$SAP} {$BTC} {$TSLA}",
        "link": "{~hafenkurier.example/wissen/moore} {~hafenkurier.example/stadt/radweg}",
    },
    phrases={
        "zug": ("Verspätung wegen einer Ziege im Gleis", "Umgekehrte Wagenreihung",
                "Der Zug fährt heute ab Gleis irgendwo",
                "Pünktlich angekommen, bin verunsichert"),
        "wer": ("die Kollegin", "mein Opa", "der Hausmeister", "das Kind", "die Katze"),
        "satz": ("das war schon immer so", "man müsste mal", "kurz zur Einordnung", "das sehen wir dann"),
        "frage": ("Drucker riechen, wenn man Angst hat", "es im Baumarkt so gute Brötchen gibt",
                  "alle Montag Termine machen"),
        "wetter": ("Nieselregen von der Seite", "strahlende Sonne", "Gegenwind auf beiden Wegen",
                   "Nebel bis mittags"),
        "anzahl": ("12", "31", "4", "55"),
    },
)  # fmt: skip

FRENCH = Topic(
    name="quotidien",
    lines=(
        "Et là, {qui} vient de dire « {phrase} » et la réunion est finie",
        "Grève, pluie, et pourtant {bonheur}. Bonne journée {tag}",
        "Le boulanger m'a reconnue. Je fais partie du quartier {tag}",
        "Quel match, mais quel match {tag}",
        "Très bel article à lire {lien}",
        "{combien} minutes d'attente pour le tram, j'ai lu deux chapitres",
        "{ticker} fait n'importe quoi et mon beau-frère aussi",
        "Vu {=Luma Vale} hier soir, j'ai pleuré trois fois {tag}",
        "Le chat dort sur le dossier urgent, donc il ne l'est plus",
        "Recette du dimanche : {bonheur} {tag}",
        "On ne parle pas assez de {bonheur}",
        "Quelqu'un a une bonne adresse pour réparer un vélo ? {tag}",
    ),
    lists={
        "tag": "{#Lundi} {#ÉtéIndien} {#Paris} {#Ligue1} {#cuisine} {#vélo}",
        "ticker": "{$BTC} {$AIR}",
        "lien": "{~lephare.example/sciences/glaciers} {~lephare.example/culture/agenda}",
    },
    phrases={
        "qui": ("ma mère", "le stagiaire", "la voisine", "mon chef"),
        "phrase": ("on verra bien", "c'est un projet", "je dis ça je dis rien", "il fait bon pour la saison"),
        "bonheur": ("un croissant chaud", "la tarte aux abricots", "le marché du samedi", "une terrasse au soleil"),
        "combien": ("douze", "vingt", "trente-cinq"),
    },
)  # fmt: skip

ARABIC = Topic(
    name="yawmiyat",
    lines=(
        "صباح الخير يا جماعة، {شيء} وكل شيء يهون {tag}",
        "{شخص} قال لي: {قول}. صدقته كالعادة",
        "يا لها من مباراة، القلب لا يحتمل {tag}",
        "الطقس اليوم {طقس} والحمد لله {tag}",
        "مقال جميل عن النجوم أنصح بقراءته {رابط}",
        "زحمة الطريق اليوم تكفي لكتابة رواية",
        "هل من كتاب خفيف لنهاية الأسبوع؟ {tag}",
        "أمي طبخت {شيء} والبيت كله صار عيد",
        "{ticker} ينزل وأنا أشرب الشاي بهدوء",
        "صورة الغروب من السطح بدون أي تعديل {tag}",
    ),
    lists={
        "tag": "{#صباح_الخير} {#القاهرة} {#كرة_القدم} {#كتب} {#الرياض} {#تصوير}",
        "ticker": "{$BTC} {$ETH}",
        "رابط": "{~almina.example/ulum/nujum} {~almina.example/thaqafa/kutub}",
    },
    phrases={
        "شيء": ("قهوة بالهيل", "خبز طازج", "كنافة", "محشي", "شاي بالنعناع"),
        "شخص": ("جاري", "أخي الصغير", "المدير", "صديقي"),
        "قول": ("خمس دقائق وأصل", "الموضوع بسيط", "غدا نبدأ", "هذه آخر مرة"),
        "طقس": ("مغبر", "لطيف", "ممطر", "حار جدا"),
    },
)  # fmt: skip

HINDI = Topic(
    name="rozmarra",
    lines=(
        "सुबह की चाय और {चीज़}, बस यही ज़िंदगी है {tag}",
        "{कौन} बोले: {बात}। मैं चुप रहा।",
        "क्या मैच था यार, आख़िरी ओवर तक दिल धड़कता रहा {tag}",
        "आज {शहर} में बारिश और ट्रैफ़िक दोनों रिकॉर्ड तोड़ रहे हैं {tag}",
        "माँ के हाथ का {चीज़} और कोई सवाल नहीं",
        "चाँद पर नया लेख पढ़िए, बहुत सरल भाषा में {लेख}",
        "{ticker} देखकर समझ आया कि सोना ही ठीक है",
        "परीक्षा ख़त्म! अब सिर्फ़ नींद {tag}",
        "ट्रेन {देर} लेट है, पर समोसे गरम हैं",
        "कोई अच्छी किताब बताइए, लंबा सफ़र है {tag}",
    ),
    lists={
        "tag": "{#सुप्रभात} {#क्रिकेट} {#मुंबई} {#चाय} {#INDvAUS} {#बारिश}",
        "ticker": "{$INFY} {$BTC}",
        "लेख": "{~prabhatpatra.example/vigyan/chand} {~prabhatpatra.example/shahar/metro}",
    },
    phrases={
        "चीज़": ("पोहा", "आलू पराठा", "अचार", "पुराना रेडियो", "राजमा चावल"),
        "कौन": ("पड़ोसी", "बॉस", "दादाजी", "ऑटो वाले भैया"),
        "बात": ("बस पाँच मिनट", "हमारे ज़माने में", "कल पक्का", "सब ठीक हो जाएगा"),
        "शहर": ("पुणे", "दिल्ली", "मुंबई", "बेंगलुरु"),
        "देर": ("दो घंटे", "चालीस मिनट", "हमेशा की तरह"),
    },
)  # fmt: skip

KOREAN = Topic(
    name="ilsang",
    lines=(
        "{언제} 마시는 커피가 제일 맛있다 {tag}",
        "오늘 점심은 {음식}! 줄 서서 먹은 보람이 있네{기분}",
        "컴백 무대 실화냐 {tag}",
        "지하철에서 {무엇} 봤는데 하루 종일 생각남{기분}",
        "{음식} 먹고 싶다고 세 번 말하면 누가 사주나요",
        "비 오는 날엔 {음식}{기분} {tag}",
        "퇴근까지 {시간} 남았다. 나는 할 수 있다",
        "이 기사 꼭 읽어보세요 {기사}",
        "{ticker} 보지 말자고 다짐했는데 또 봤다",
        "우리 집 고양이가 드디어 {무엇} 인정했다 {tag}",
        "공연 끝나고 집 가는 길, 아직도 심장이 뛴다 {tag}",
    ),
    lists={
        "tag": "{#서울} {#노바나인} {#NOVA9} {#일상} {#고양이} {#맛집} {#야구}",
        "ticker": "{$NVDA} {$BTC}",
        "기사": "{~hangangnews.example/gwahak/byeol} {~hangangnews.example/munhwa/gongyeon}",
    },
    phrases={
        "언제": ("출근 전에", "비 오는 아침에", "일요일 오후에", "마감 끝나고"),
        "음식": ("떡볶이", "김치찌개", "칼국수", "붕어빵", "냉면"),
        "기분": (" ㅋㅋㅋ", "!", " ㅠㅠ", " 😋", ""),
        "무엇": ("새 의자를", "책 읽는 할아버지를", "옛날 친구를", "무지개를"),
        "시간": ("두 시간", "십 분", "사흘"),
    },
)  # fmt: skip

LANGUAGES = (
    Language("en", 0.56, 20, english.TOPICS, english.TAILS, english.REPLIES),
    Language(
        "ja", 0.13, 13, (JAPANESE,), ("", "", "", " 🍜", " 🌸", " 笑", "！", " ☕️"),
        ("わかる", "最高ですね{tail}", "それは大変でしたね…", "おめでとうございます！{tail}", "草", "行きたい{tail}",
         "お疲れさまです{tail}", "知らなかった！ありがとうございます", "かわいい{tail}", "うちもです 笑"),
    ),
    Language(
        "pt", 0.09, 23, (PORTUGUESE,), ("", "", "", " 😂", " ❤️", " kkkkk", " 🙏🏽", "!"),
        ("kkkkkkk{tail}", "verdade{tail}", "nem me fale", "que lindo{tail}", "fonte?", "tamo junto{tail}",
         "eu também, igualzinho{tail}", "passou da hora de alguém dizer isso"),
    ),
    Language(
        "es", 0.07, 1, (SPANISH,), ("", "", "", " 😅", " ❤️", " 🎶", "!!"),
        ("totalmente{tail}", "jajaja me pasa igual{tail}", "¿dónde es eso?", "qué bonito{tail}", "fuerza{tail}",
         "no puede ser", "lo mismo digo{tail}", "gracias por compartir {#FelizLunes}"),
    ),
    Language(
        "de", 0.05, 19, (GERMAN,), ("", "", "", " 🙃", " ☕", " 😄", "!"),
        ("Genau mein Humor{tail}", "Same. Nur mit Regen.", "Danke dafür{tail}", "Quelle?", "Hier auch so{tail}",
         "Gute Besserung{tail}", "Das ist so wahr{tail}"),
    ),
    Language(
        "fr", 0.03, 19, (FRENCH,), ("", "", "", " 😂", " 🥐", " ❤️"),
        ("mais oui{tail}", "pareil ici{tail}", "courage{tail}", "trop beau{tail}", "une source ?", "merci{tail}"),
    ),
    Language(
        "ko", 0.03, 13, (KOREAN,), ("", "", " 🔥", " ✨", " ㅎㅎ"),
        ("인정{tail}", "와 대박{tail}", "저도요 ㅠㅠ", "어디예요?", "축하해요{tail}", "부럽다{tail}"),
    ),
    Language(
        "ar", 0.02, 19, (ARABIC,), ("", "", " 🌙", " ☕", " ❤️"),
        ("صحيح{tail}", "الله يوفقك{tail}", "ههههه{tail}", "أين هذا المكان؟", "جميل جدا{tail}"),
    ),
    Language(
        "hi", 0.02, 15, (HINDI,), ("", "", " 🙏", " ☕", " 😄"),
        ("बिल्कुल सही{tail}", "क्या बात है{tail}", "हमारे यहाँ भी यही हाल है", "बधाई हो{tail}", "कहाँ की बात है?"),
    ),
)  # fmt: skip
