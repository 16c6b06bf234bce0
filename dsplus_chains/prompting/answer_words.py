"""The words with which a model announces an answer. A word that is missing here costs a second question, no more."""

from __future__ import annotations

import re
from functools import lru_cache

ANSWERS = (
    *("answer", "label", "category", "class", "classification", "prediction", "decision", "choice", "verdict"),
    *("result", "output", "conclusion"),
)
"""What an answer calls itself, whatever was asked."""

ATTRIBUTES = (
    *("sentiment", "polarity", "intent", "intention", "topic", "subject", "theme", "domain", "emotion", "feeling"),
    *("mood", "tone", "stance", "opinion", "attitude", "urgency", "priority", "severity", "importance", "relevance"),
    *("risk", "toxicity", "quality", "level", "rating", "score", "grade", "type", "kind", "status", "department"),
    *("team", "queue", "language", "genre", "tag", "code", "group", "value", "stars"),
)
"""What is usually asked for."""

FOREIGN = (
    *("antwort", "kategorie", "klasse", "klassifikation", "stimmung", "ergebnis", "thema", "absicht", "bewertung"),
    *("einstufung", "label", "sentiment", "respuesta", "resposta", "απάντηση", "итог", "настроение"),
    *("etiqueta", "categoría", "categoria", "clase", "clasificación", "sentimiento", "resultado"),
    *("réponse", "étiquette", "catégorie", "classe", "résultat", "intention", "risposta", "etichetta", "sentimento"),
    *("risultato", "rótulo", "antwoord", "categorie", "svar", "kategori", "odpowiedź", "kategoria"),
    *("cevap", "yanıt", "etiket", "jawaban", "ответ", "метка", "категория", "класс", "тональность", "відповідь"),
    *("答案", "回答", "标签", "標籤", "类别", "類別", "分类", "分類", "情感", "情绪", "结果", "結果", "意图", "ラベル"),
    *(
        "答",
        "结论",
        "結論",
        "输出",
        "輸出",
        "判断",
        "判斷",
        "预测",
        "預測",
        "情感倾向",
        "情感分类",
        "分类结果",
        "คำตอบ",
    ),
    *("カテゴリ", "感情", "答え", "정답", "답변", "답", "라벨", "레이블", "분류", "감정", "카테고리"),
    *("الإجابة", "الجواب", "التصنيف", "الفئة", "المشاعر", "תשובה", "קטגוריה", "उत्तर", "श्रेणी", "वर्ग"),
    "התשובה",
)
"""The same in other languages."""

INPUTS = (
    *("input", "text", "review", "message", "comment", "sentence", "statement", "tweet", "post", "email", "e mail"),
    *("ticket", "document", "question", "query", "request", "passage", "article", "feedback", "headline"),
    *("transcript", "conversation", "dialogue", "utterance", "complaint", "case", "item", "story", "paragraph", "one"),
)
"""What is judged, in singular."""

PEOPLE = (
    *("customer", "user", "reviewer", "author", "writer", "speaker", "person", "client", "buyer", "sender", "patient"),
    *("caller", "poster", "guest", "student", "consumer"),
)
"""Who wrote it."""

CALLS = ("arguments", "parameters", "args")
"""Where a tool call has its fields."""

NOTES = (
    *("confidence", "score", "probability", "certainty", "reason", "reasons", "reasoning", "explanation", "rationale"),
    *("justification", "thought", "thoughts", "analysis", "evidence", "note", "notes", "comment", "summary", "why"),
)
"""What may stand beside an answer."""

ADJECTIVES = (
    *("final", "correct", "best", "overall", "right", "appropriate", "suitable", "fitting", "main", "primary"),
    *(
        "general",
        "dominant",
        "predominant",
        "underlying",
        "chosen",
        "selected",
        "assigned",
        "resulting",
        "true",
        "most",
    ),
)
"""What an answer may be called."""

_QUALIFIERS = frozenset(
    (*ADJECTIVES, "my", "the", "predicted", "requested", "output", "text", "review", "message", "sentiment")
)
_OWNERS = frozenset((*_QUALIFIERS, *INPUTS, *PEOPLE))
_ASKED = frozenset((*ANSWERS, *ATTRIBUTES)) - {"score"}
_NO_FIELDS = frozenset(
    (
        *("no", "not", "never", "neither", "without", "except", "but", "other", "else", "alternative", "opposite"),
        *("contrary", "wrong", "false", "error", "example", "default", "old", "former", "last", "next", "second"),
        *("runner", "maybe", "possible", "candidate", "option", "guess", "hint", "baseline", "prompt", "content"),
        *("source", "id", "context", "quote", "reject", "exclude", "instruction", "placeholder", "template"),
        *("any", "all", "none", "some", "either", "isnt", "forbidden", "taboo", "banned", "title", "first"),
        *("hypothesis", "premise", "assumption", "contradiction", "negation", "neg", "lie", "myth", "draft", "model"),
        *INPUTS,
        *PEOPLE,
        *NOTES,
    )
)
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NO_FIELD = re.compile(r"(?:un|non|not|anti|dis|mis)|.*(?:ed|ing|ly|[^aisu]s)$")


def either(words: tuple[str, ...]) -> str:
    """A regular expression for one of the words, the longest first."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


@lru_cache(maxsize=1024)
def rank(key: str) -> int | None:
    """How clearly a field's name says that it holds the answer: 0 for "label", 1 for "sentiment", 2 for "weather".

    What is of rank 2 counts if it stands alone, as "ticket_type" and "labels" do.

    It is None for the name of anything else, such as "rejected", "confidence" or "text".

    Example:
        >>> [rank(key) for key in ("finalAnswer", "class_name", "urgency", "weather", "rejected", "old_label")]
        [0, 0, 1, 2, None, None]
    """
    parts = re.findall(r"[^\W_]+", _CAPITAL.sub(" ", key).lower())
    if not parts:
        return None
    if parts[-1] == "name" and len(parts) > 1:  # "class_name"
        return rank(" ".join(parts[:-1]))
    (*more, name) = parts
    if all(part in _QUALIFIERS for part in more):
        if name in ANSWERS or name in CALLS:
            return 0
        if name in ATTRIBUTES or name in FOREIGN:
            return 1
    if name.removesuffix("s") in _ASKED and all(part in _OWNERS for part in more):
        return 2
    return None if more or not name.isalpha() or name in _NO_FIELDS or _NO_FIELD.match(name) else 2
