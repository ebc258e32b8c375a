"""The embedded responder: a few rules in English and Chinese, which say that they are rules."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from itertools import pairwise

from conversation.message import Message
from conversation.response.responder import Piece, TextPiece, Tool

_LONGEST_CHARS = 200
# What was heard, and what is said to it; {1} is what the pattern found, times and dates are the server's.
_RULES = (
    (r"\b(?:repeat after me|say)\b[\s,:]*(\S.*)", "{1}"),
    (
        r"\bwhat(?:'s|\s+is)?\s+(?:the\s+)?time\b|\bwhat time\b|\b(?:tell me|know|have)\s+the\s+time\b",
        "It is {time} on this server.",
    ),
    (r"\bwhat(?:'s|\s+is)?\s+(?:the\s+)?(?:day|date)\b|\bwhat (?:day|date)\b", "Today is {date}."),
    (r"\bwho are you\b|\byour name\b", "I am a digital human. My answers are rules, and not a language model."),
    (
        r"\bwhat can you do\b|\bhelp\b",
        "You can interrupt me, ask me for the time or the date, or tell me to say something. "
        "I answer by rules: for more, connect a language model.",
    ),
    (r"\b(?:stop|be quiet)\b", ""),
    (r"\b(?:thank you|thanks)\b", "You are welcome."),
    (r"\b(?:bye|goodbye)\b", "Goodbye!"),
    (
        r"\b(?:hello|hi|good (?:morning|afternoon|evening))\b",
        "Hello! I answer by simple rules until a language model is connected.",
    ),
)
_NO_RULE = "I heard: {1}. I have no rule for that. Connect a language model for real answers."
# Recognisers write either set of characters.
_RULES_ZH = (
    (r"(?:跟我说|跟我說|请说|請說|你说|你說)[\s,,：:]*(\S.*)", "{1}"),
    (r"[几幾][点點]|什么时间|什麼時間|现在时间|現在時間", "这台服务器上现在是{time_zh}。"),
    (r"[几幾][号號月]|星期[几幾]|(?:周|礼拜|禮拜)[几幾]|什么日子|什麼日子|日期", "今天是{date_zh}。"),
    (r"你是[谁誰]|你叫什[么麼]|你的名字", "我是数字人。我的回答来自规则，不是语言模型。"),
    (
        r"你会什[么麼]|你會什[么麼]|你能做什[么麼]|帮助|幫助",
        "您可以打断我，问我时间或日期，或者让我说一句话。我按规则回答：想要更多，请连接语言模型。",
    ),
    (r"停|安静|安靜|别说了|別說了", ""),
    (r"[谢謝][谢謝]", "不客气。"),
    (r"再[见見]|拜拜", "再见！"),
    (r"[你您]好|早上好|下午好|晚上好", "您好！在连接语言模型之前，我按简单的规则回答。"),
)
_NO_RULE_ZH = "我听到：{1}。我没有相应的规则。想要真正的回答，请连接语言模型。"
_SENTENCE_END = re.compile(r"[.?!]\s+|[。？！]\s*")
_CHINESE = re.compile("[\u3400-\u9fff]")
_WEEKDAYS_ZH = "一二三四五六日"


class RuleResponder:
    """Answers the last message: its last sentence for which there is a rule, by the first rule that fits.

    The last one, since a message may begin with a question whose answer nobody heard.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def run(self) -> None:
        """It needs nothing."""
        await asyncio.get_running_loop().create_future()

    async def answer(self, history: Sequence[Message], tools: Sequence[Tool] = ()) -> AsyncGenerator[Piece, None]:
        """One piece, or none where the rule is to be quiet; rules call no tools."""
        if text := self._said(history[-1].text):
            yield TextPiece(text)

    def _said(self, heard: str) -> str:
        now = self._now()
        is_chinese = _CHINESE.search(heard) is not None
        begins = [0, *(end.end() for end in _SENTENCE_END.finditer(heard))]
        for first, last in reversed(list(pairwise([*begins, len(heard)]))):
            for pattern, answer in _RULES_ZH if is_chinese else _RULES:
                found = re.compile(pattern, re.IGNORECASE).search(heard, first)
                if found is not None and found.start() < last:
                    return self._filled(answer, found.group(1) if found.re.groups else "", now)
        return self._filled(_NO_RULE_ZH if is_chinese else _NO_RULE, heard.strip(" .?!。？！"), now)

    def _filled(self, answer: str, found: str, now: datetime) -> str:
        known = {
            "time": f"{now:%H:%M}",
            "date": f"{now:%A, %B} {now.day}",
            "time_zh": f"{now.hour}点{now.minute}分" if now.minute else f"{now.hour}点整",
            "date_zh": f"{now.month}月{now.day}日，星期{_WEEKDAYS_ZH[now.weekday()]}",
        }
        for name, value in known.items():
            answer = answer.replace(f"{{{name}}}", value)
        return answer.replace("{1}", found[:_LONGEST_CHARS])
