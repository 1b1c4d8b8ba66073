"""Tables for comparing questions: what is only a way to put them, what means the same, what means the opposite.

Words stand as people write them; who reads a table takes their stems. General English only: a table that knew the
matters of one collection of questions would be worth nothing for another.
"""

import re
from collections.abc import Mapping, Sequence

from functions.llm_answer.text import stem


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _rules(*pairs: tuple[str, str]) -> Sequence[tuple[re.Pattern[str], str]]:
    return tuple((re.compile(rf"(?<!\S)(?:{pattern})(?!\S)"), into) for pattern, into in pairs)


_GOOD = "(?:best|good|easiest|easy|simplest|simple|better|right|proper|correct|effective|most effective|ideal|possible)"
_WAY = "(?:way|ways|method|methods|approach|approaches|steps|procedure|process|tips|trick|tricks)"
_ONE = "(?:i|you|we|one|someone|somebody|anyone|anybody|people|a person)"
_DO = "(?:do|does|can|could|should|would|to|must|may|might|shall)"
_BE = "(?:is|are|was|were|would be|will be|can be|could be|should be)"
_WHAT = "(?:what|which)"
_THE = "(?:the |a |an |some |any |your |few |different |various |possible )*"

# Several words that are one; words are joined by single spaces.
PHRASES = _rules(
    ("united states(?: of america)?|u s a?|usa", "us"),
    ("united kingdom|u k|great britain", "uk"),
    ("european union|e u", "eu"),
    ("get rid of", "remove"),
    ("log (in|out|on|off)", r"log\1"),
    ("sign (in|out|on|off)", r"log\1"),
    ("set up", "setup"),
    ("shut down", "shutdown"),
    ("turn (on|off)|switch (on|off)", r"turn\1\2"),
    ("back up", "backup"),
    ("(e|wi) (mail|fi)", r"\1\2"),
    ("make (.{0,12} )?money", r"earn \1money"),
    ("as (?:opposed|compared) to|in comparison (?:to|with)|compared with", "compared to"),
    ("instead of|rather than", "than"),
    ("take care of|deal with|cope with", "handle"),
    ("find out", "find"),
    ("look for", "find"),
    ("a lot of|lots of|a large number of", "many"),
    ("a few|quite a few", "some"),
    ("at least|no (?:less|fewer) than", "atleast"),
    ("at most|no more than", "atmost"),
    ("up to", "upto"),
    ("percent|per cent", "%"),
    (r"(\d+) ?k", r"\g<1>000"),
    (r"(\d+) (?:st|nd|rd|th)", r"\1th"),
    ("each other|one another", "eachother"),
)  # fmt: skip

# Ways to put a question; applied in this order, after PHRASES.
FRAMES = _rules(
    ("(?:hi|hello|hey|please|pls|kindly|well|ok|okay|thanks|thank you|help)", ""),
    ("(?:could|can|would|will) (?:you|someone|somebody|anyone|anybody) (?:please )?"
     "(?:tell|explain(?: to)?|show|suggest|recommend)(?: me| us)?(?= )", ""),
    ("(?:tell|explain to|show) (?:me|us)", ""),
    ("(?:do you know|does any(?:one|body) know|i (?:want|need|would like|wish) to know|i wonder|any idea)", ""),
    ("(?:according to you|in your opinion|in your view|in general|exactly|actually|really|basically|ever)", ""),
    ("(what|who|where|when|why|how|which) (?:do|did) you think(?= (?:is|are|was|were|will|can|should))", r"\1"),
    ("(?:and )?(?:if (?:so|yes|not) )?(?:why or why not|why|how|explain why|explain|and why)$", ""),
    ("(?:could|should|would|might|must)(?: i| you| we| one| he| she| they)? have"
     "(?= (?:been|done|[a-z]+(?:ed|en|wn|ght)) )", r"\g<0> past"),
    ("how come", "why"),
    (f"what {_BE} the (?:main |major |real |possible )?(?:reason|cause)s?(?: why)?(?: that| for| of| behind)?", "why"),
    ("for what reason", "why"),
    ("what (?:time|date|day)(?= (?:is|are|was|were|does|do|did|will|can|should))", "when"),
    ("what (?:kind|kinds|type|types|sort|sorts) of", "what"),
    ("(?:main|major|basic|key|biggest)(?= (?:difference|differences|reason|reasons|cause|causes))", ""),
    ("(?:at|on) (?:what|which) (?:time|date|day)", "when"),
    (f"(?:in )?{_WHAT} (?:place|places|location|locations)", "where"),
    (f"{_WHAT} {_BE} {_THE}{_GOOD}? ?{_WAY} (?:to|of|for|in which {_ONE} can|{_ONE} can)", "how to"),
    (f"(?:is|are) there {_THE}{_GOOD}? ?{_WAY} (?:to|of|for|{_ONE} can)", "how to"),
    (f"in {_WHAT} {_WAY}", "how"),
    (f"(?:the )?{_GOOD} {_WAY} (?:to|of)", "how to"),
    (f"how {_DO} {_ONE} (?:go about|best|be able to)", "how to"),
    (f"how {_DO} {_ONE}(?: best| easily)?", "how to"),
    (f"what (?:can|could|should|do|must|does) {_ONE} do(?: in order)? to", "how to"),
    ("what is it like to|what does it feel like to|how does it feel to|what does it feel to", "how feel to"),
    ("what (?:is|are) (.+) like$", r"how is \1"),
    (f"how {_ONE} {_DO}(?: {_ONE})?", "how to"),
    ("how (?:can|could|should|would|do|does|is it possible to)(?= )", "how to"),
    (f"what {_BE} (?:the |a )?(?:number|count|amount) of", "how many"),
    ("how much (?:does|do|did|will|would) (.+) cost", r"what is the price of \1"),
    ("how much (?:money )?(?:is|are)", "what is the price of"),
    (f"{_WHAT} do(?:es)? (.+) cost", r"what is the price of \1"),
    ("(?:is it possible (?:for .+? )?to|is there any possibility to)", "can"),
    (f"(?:am|are|is) (?:{_ONE}|it) (?:allowed|permitted|able) to", "can"),
    (f"(?:do|does) {_ONE} (?:have|need|got) to", "must"),
    ("is it (?:necessary|required|mandatory|compulsory|obligatory) to", "must"),
    ("(?:have|has|need|needs|got) to", "must"),
    ("(?:going|gonna) to", "will"),
    (f"{_WHAT} {_BE} (?:the )?(?:meaning|definition) of", "what is"),
    ("what (?:is|are) meant by", "what is"),
    ("what do (?:you|we) mean by", "what is"),
    ("what (?:does|do|did) (.+?) (?:mean|means|stand for)", r"what is \1"),
    ("how (?:to|do|does) (.+? and .+?) (?:differ|different|compare)$", r"what is difference between \1"),
    ("how (?:is|are) (.+?) different (?:from|than|to) ", r"what is difference between \1 and "),
    ("how to (?:differentiate|distinguish) (?:between )?", "what is difference between "),
    ("is there (?:a |any |some )?differences? between", "what is difference between"),
    (f"{_WHAT} (?:one )?{_BE} {_THE}", "what is "),
    (f"{_WHAT} one", "what"),
)  # fmt: skip

_SAME = """
    best good great top nice amazing awesome
    evidence proof
    plan strategy
    rude disrespectful impolite
    suitable appropriate
    convince persuade
    reply respond response
    display show
    see view
    speak talk
    funny humorous
    dangerous risky
    cheap inexpensive affordable
    expensive costly
    near nearby
    author writer
    teacher instructor
    country nation
    illness disease sickness
    retrieve fetch
    modify change alter
    replace substitute
    invoice bill
    hire recruit
    colleague coworker
    unusual uncommon
    slogan motto
    protect defend
    ability capability
    advantage benefit pros
    disadvantage drawback cons
    goal objective aim
    task chore
    trip journey
    garbage trash rubbish
    silly foolish stupid dumb
    delicious tasty
    wait await
    consume eat
    entire whole
    annual yearly
    movie film cinema
    picture image photo photograph pic pics
    quick fast rapid speedy
    buy purchase
    fix repair
    begin start commence
    stop quit cease
    remove delete erase
    big large huge
    small tiny
    job occupation
    help assist aid
    get obtain receive acquire
    improve enhance
    kid child children
    company firm
    car automobile
    phone telephone cellphone
    bike bicycle
    sick ill
    salary wage
    employee staff
    doctor physician
    lawyer attorney
    happen occur
    choose select pick
    colour color
    favourite favorite
    organisation organization
    programme program
    centre center
    behaviour behavior
    differ difference different distinguish
    necessary required needed
    often frequently
    hard difficult tough
    smart intelligent clever
    rich wealthy
    weird strange bizarre odd
    scared afraid
    allow permit let
    need require
    use utilize utilise
    create make
    study learn
    reason cause
    effect impact
    price cost
    folder directory
    config configuration
    setup install
    app application
    site website
    pc computer
    info information
    doc documentation
    db database
    k8s kubernetes
    repo repository
    end finish
    shut close
    handle manage
    legit legitimate
    vs versus
    famous popular
    people person human
    all every
    build construct
    man men
    woman women
    ad advertisement advert
    exam examination
    maths math mathematics
    rupee rs inr
    dollar usd
    euro eur
    max maximum maximal
    min minimum minimal
    approx approximately roughly about
    hour hr hrs
    minute mins
    second sec secs
    kilometer km kilometre
    kilogram kg
    gb gigabyte
    mb megabyte
"""

# What is turned into the other: who asks for one does not ask for the other.
_OPPOSITE = """
    enable disable / activate deactivate / before after / increase decrease / raise lower / import export / max min
    first last / start stop / begin end / open close / add remove / install uninstall / include exclude / allow deny
    allow forbid / accept reject / encrypt decrypt / upload download / push pull / send receive / give receive
    give take / buy sell / lend borrow / win lose / gain lose / love hate / top bottom / up down / left right
    north south / east west / old new / young old / hot cold / high low / big small / long short / cheap expensive
    rich poor / strong weak / fast slow / early late / best worst / good bad / better worse / more less / most least
    more fewer / always never / all none / inside outside / internal external / public private / input output
    read write / connect disconnect / lock unlock / mount unmount / attach detach / join leave / enter exit
    arrive depart / success failure / succeed fail / pass fail / true false / right wrong / legal illegal
    possible impossible / visible invisible / mandatory optional / required optional / upgrade downgrade
    scale shrink / grow shrink / expand collapse / load unload / save discard / show hide / similar different
    same different / similar differ / advantage disadvantage / strength weakness / benefit risk
    hire fire / employer employee / teacher student / buyer seller / client server / parent child / husband wife
    male female / man woman / boy girl / mother father / son daughter / brother sister / plus minus / positive negative
    minimum maximum / upper lower / front back / forward backward / login logout / logon logoff / turnon turnoff
    ascending descending / synchronous asynchronous / lossless lossy / import export / source target
    source destination / sender receiver / producer consumer / publish subscribe / oldest newest / latest earliest
    day night / morning evening / summer winter / spring autumn / weekday weekend / daily weekly / weekly monthly
    monthly yearly / breakfast dinner / yesterday tomorrow / past future / previous next / gross net / import export
    debit credit / profit loss / asset liability / arrival departure / alive dead / safe dangerous / healthy unhealthy
    with without / full empty / full part / atleast atmost / horizontal vertical / theist atheist / lease buy
    create delete / create remove / commit rollback / approve refuse / approve reject / manual automatic
    temporary permanent / online offline / wet dry / hard soft / light heavy / light dark / import exporting
    follow unfollow / freeze thaw / compress decompress / zip unzip / wrap unwrap / subscribe unsubscribe
    register unregister / deploy undeploy / trust distrust / like dislike / agree disagree / appear disappear
    near far / thin thick / narrow wide / ancient modern / optimist pessimist / introvert extrovert / major minor
    majority minority / singular plural / above below / over under / earn spend / attack defend / question answer
    cause effect / cause prevent / prevent allow / sink float / rise fall / sunrise sunset / birth death / born die
    marry divorce / import ship / debit charge / serve consume / master slave / leader follower / primary secondary
    primary replica / minimize maximize / minimise maximise / simplify complicate / tighten loosen / speed slow
"""

_LIGHT = """
    very much just even also effective definitely totally completely absolutely
    some any many several few various different thing things stuff become
    usually generally commonly normally simply easily exactly properly effectively successfully
"""

_FUNCTION = """
    a an the this that these those there it its itself
    i you we one me my your our yours ours mine myself yourself ourselves oneself
    he she they him her them his their theirs himself herself themselves
    is are was were be been being am do does did done doing have has had having
    can could will would shall should may might must
    and or but if then so as than too
    of in on at by for from to into onto toward towards with within about over under through during between among across
    upon via per
    what which who whom whose when where why how whether
    not no get got
"""

_NEGATIVE = """
    non not no never none nothing nobody nowhere neither nor without cannot hardly barely
"""


def root(word: str) -> str:
    """The stem of a word, without a letter that only its ending doubled: stopped, stop."""
    known = stem(word)
    return known[:-1] if len(known) > 3 and known[-1] == known[-2] and known[-1] not in "sl" else known


def _groups(text: str) -> dict[str, str]:
    lines = [[root(word) for word in line.split()] for line in text.strip().splitlines()]
    return {word: line[0] for line in reversed(lines) for word in line}


def _couples(text: str, means: Mapping[str, str]) -> frozenset[frozenset[str]]:
    couples = (each.split() for each in text.replace("\n", "/").split("/") if each.strip())
    return frozenset(frozenset(means.get(root(word), root(word)) for word in each) for each in couples)


MEANS: Mapping[str, str] = _groups(_SAME)
OPPOSITES = _couples(_OPPOSITE, MEANS)
LIGHT = _set(_LIGHT)
FUNCTION = _set(_FUNCTION)
NEGATIVE = _set(_NEGATIVE)
# Of stems: a word and what is made of it, so "ee" is none.
ENDINGS = _set("er or ion ation ment al ial nes it anc enc ist ism iv abl ibl ic ical ful at ar e i") | {""}

# Words whose presence alone changes what is asked, each with what it says; compared as sets.
QUANTITIES: Mapping[str, str] = {
    word: meaning
    for meaning, words in {
        "all": "all every each everyone everybody everything entire whole both",
        "only": "only alone solely exclusively just",
        "always": "always forever",
        "sometimes": "sometimes occasionally rarely seldom",
        "often": "often frequently",
        "more": "more greater higher larger bigger",
        "less": "less fewer lower smaller",
        "most": "most highest largest biggest maximum max",
        "least": "least lowest smallest minimum min fewest",
        "worst": "worst worse",
        "half": "half",
        "atleast": "atleast",
        "atmost": "atmost upto",
        "too": "too",
        "many": "many",
        "few": "few",
    }.items()
    for word in words.split()
}
_TIMES = """
    yesterday today tonight tomorrow now currently recently ago already yet still next previous last first before after
    until till since during while again daily weekly monthly yearly annually morning evening night weekend january
    february march april june july august september october november december spring summer autumn winter monday tuesday
    wednesday thursday friday saturday sunday week month year day hour
"""
TIMES: Mapping[str, str] = {word: word for word in _TIMES.split()}
TENSES: Mapping[str, str] = {
    "was": "past", "were": "past", "did": "past", "had": "past", "been": "past", "past": "past", "will": "future",
    "shall": "future",
}  # fmt: skip
MODALS: Mapping[str, str] = {
    "can": "can", "could": "can", "may": "may", "might": "may", "must": "must", "should": "should", "ought": "should",
    "would": "would", "will": "will",
}  # fmt: skip
PERSONS: Mapping[str, str] = {
    word: meaning
    for meaning, words in {
        "he": "he him his himself", "she": "she her hers herself", "me": "me",
        "they": "they them their theirs themselves", "there": "there", "have": "have has had having",
    }.items()
    for word in words.split()
}  # fmt: skip
SPEAKERS: Mapping[str, str] = {
    word: who for who, words in {"i": "i me my we our", "you": "you your"}.items() for word in words.split()
}
OWNERS: Mapping[str, str] = {"my": "my", "our": "my", "your": "your"}
DO = _set("do does did doing done")
BEFORE_DO = _set(
    "i you we they one he she it to can could should must will would may might not"
)  # then it is no auxiliary
JOINS = _set("and or vs")
SOMEBODY = frozenset(map(root, _set("someone somebody anyone anybody everyone other another")))

MARKERS = _set("""
    to from into onto toward towards within of in on at by for with without about over under through during between
    before after than vs against via per since until till as
""")
TOWARDS: Mapping[str, str] = {
    marker: role
    for role, markers in {
        "to": "to into onto toward towards", "from": "from", "by": "by", "than": "than", "against": "against",
        "without": "without", "before": "before", "after": "after", "over": "over", "under": "under",
        "with": "with", "about": "about", "since": "since", "until": "until till", "via": "via through",
    }.items()
    for marker in markers.split()
}  # fmt: skip
KINDS: Mapping[str, str] = {
    "who": "who", "whom": "who", "whose": "who", "when": "when", "where": "where", "why": "why", "how": "how",
    "what": "what", "which": "what",
}  # fmt: skip
EXTENTS = _set("many much long often far old big tall fast soon deep high late large good bad")
YES_OR_NO = _set("is are was were am do does did can could will would shall should may might must has have had")
_COUNTED = """
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty
"""  # "one" is a pronoun as often
NUMERALS: Mapping[str, str] = {word: str(number) for number, word in enumerate(_COUNTED.split(), 2)} | {
    "zero": "0", "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "hundred": "100", "thousand": "1000",
    "dozen": "12",
}  # fmt: skip
CONTRACTIONS = tuple(
    (re.compile(pattern), into)
    for pattern, into in (
        (r"\b(do|does|did|is|are|was|were|could|should|would|have|has|had)n'?t\b", r"\1 not"),
        (r"\bcan'?t\b|\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (
            r"\b(what|who|where|when|why|how|that|there|here|it|he|she)'?s\b(?<!its)(?<!hes)(?<!shes)(?<!heres)",
            r"\1 is",
        ),
        (r"'re\b", " are"),
        (r"\bi'?m\b", "i am"),
        (r"'ve\b", " have"),
        (r"'ll\b", " will"),
        (r"'d\b", " would"),
        (r"(\w)'s?(?!\w)", r"\1"),
    )
)
