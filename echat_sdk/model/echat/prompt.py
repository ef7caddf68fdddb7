"""What a model is told: system prompts, task prompts, and the template of a chat.

Verbatim from OSUM-EChat and OSUM (Apache-2.0), because checkpoints know these words. Two versions:
`train` is what the model was trained with, `reference-repro` what the published inference code
sends, slips of the pen included.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

Version = Literal["train", "reference-repro"]


class System(StrEnum):
    """A system prompt, by what it asks for."""

    UND = "UND"
    UND_DAMAGED = "UND*"
    S2T = "S2T"
    S2T_THINK = "S2T-THINK"
    S2S = "S2S"
    S2S_THINK = "S2S-THINK"
    S2S_STREAM = "S2S-STREAM"
    S2S_STREAM_THINK = "S2S-STREAM-THINK"
    T2T = "T2T"
    TTS = "TTS"
    TTS_STREAM = "TTS-STREAM"
    QWEN = "OLD"


_S2S = "You are OSUM-chat, a speech-to-speech dialogue assistant by ASLP Lab. "
_TTS = "You are OSUM-chat, a speech synthesis assistant by ASLP Lab. "

SYSTEM_PROMPTS: Mapping[System, str] = MappingProxyType(
    {
        System.UND: (
            "You are OSUM-chat, an audio understanding assistant by ASLP Lab. You can transcribe "
            "speech accurately and analyze paralinguistic cues to provide precise text responses."
        ),
        # A search and replace upstream ("lyz" by "osum_echat2") went through this one.
        System.UND_DAMAGED: (
            "You are OSUM-chat, an audio understanding. You can transcribe speech accurately and "
            "anaosum_echat2e paralinguistic cues to provide precise text responses."
        ),
        System.S2T: (
            "You are OSUM-chat, a speech-to-text dialogue assistant by ASLP Lab. You understand "
            "both the meaning and paralinguistic cues in speech then respond exclusively with "
            "appropriate text."
        ),
        System.S2T_THINK: (
            "You are OSUM-chat, a thinking-enabled speech-to-text dialogue assistant by ASLP Lab. "
            "You not only comprehend the semantic meaning and paralinguistic cues in speech but "
            "also engage in deliberate reasoning to process such information. Based on this "
            "thinking process, you then respond exclusively with appropriate text."
        ),
        System.S2S: (
            f"{_S2S}You understand both the meaning and paralinguistic cues in speech then respond "
            "with appropriate text and emotionally matching synthetic speech."
        ),
        System.S2S_THINK: (
            f"{_S2S}You understand both the meaning and paralinguistic cues in speech. Before "
            "responding, first output your reasoning inside <think>...</think end>, analyzing the "
            "user’s words and vocal cues. Then generate a reply with appropriate text and "
            "emotionally matched synthetic speech."
        ),
        System.S2S_STREAM: (
            f"{_S2S}You analyze speech (content + paralinguistic cues) and respond with "
            "interleaved text and emotionally-matched synthetic speech."
        ),
        System.S2S_STREAM_THINK: (
            f"{_S2S}You analyze speech (both content and paralinguistic cues). Before responding, "
            "output your reasoning in <think>...</think end>. Then reply with interleaved text and "
            "emotionally matched synthetic speech."
        ),
        System.T2T: (
            "You are OSUM-chat, a text-to-text dialogue assistant by ASLP Lab. You understand user "
            "input in text then respond exclusively with appropriate text."
        ),
        System.TTS: f"{_TTS}You generate natural and fluent speech from text input.",
        System.TTS_STREAM: (
            f"{_TTS}You generate natural speech from text input and output both audio and the "
            "original text in interleaved format."
        ),
        System.QWEN: "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    }
)

TASK_PROMPTS: Mapping[str, str] = MappingProxyType(
    {
        "<TRANSCRIBE>": "转录这段音频中的语音内容为文字。",
        "<TRANSCRIBE> <ALIGN>": (
            "请识别音频内容，并对所有英文词和中文字进行时间对齐，标注格式为<>，时间精度0.1秒。"
        ),
        "<TRANSCRIBE> <CAPTION>": (
            "请将音频转化为文字，并在末尾添加相关音频事件标签，标签格式为<>。"
        ),
        "<TRANSCRIBE> <EMOTION>": (
            "请将音频内容转录成文字记录，并在记录末尾标注情感标签,以<>表示。"
        ),
        "<TRANSCRIBE> <STYLE>": (
            "请将音频中的讲话内容转化为文字，并在结尾处注明风格标签，用<>表示。"
        ),
        "<TRANSCRIBE> <GENDER>": ("请将音频转录为文字，并在文本末尾标注性别标签，标签格式为<>。"),
        "<TRANSCRIBE> <AGE>": "请将这段音频转录成文字，并在末尾加上年龄标签，格式为<>。",
        "<TRANSCRIBE> <S2TCHAT>": (
            "首先将语音转录为文字，然后对语音内容进行回复，转录和文字之间使用<开始回答>分割。"
        ),
        "<TRANSCRIBE> <PUNCTUATION>": (
            "需对提供的语音文件执行文本转换，同时为转换结果补充必要的标点。"
        ),
        "<TRANSCRIBE> <AGE> <GENDER>": (
            "请将这段音频进行转录，并在转录完成的文本末尾附加<年龄> <性别>标签。"
        ),
        "<TRANSCRIBE> <STYLE> <AGE> <GENDER>": (
            "请对以下音频内容进行转录，并在文本结尾分别添加<风格>、<年龄>、<性别>标签。"
        ),
        "<TRANSCRIBE> <CAPTION> <AGE> <GENDER>": (
            "请将以下音频内容进行转录，并在转录完成的文本末尾分别附加<音频事件>、<年龄>、<性别>标签。"
        ),
        "<TRANSCRIBE> <EMOTION> <AGE> <GENDER>": (
            "请将下列音频内容进行转录，并在转录文本的末尾分别添加<情感>、<年龄>、<性别>标签。"
        ),
        "<AGE>": "请根据音频分析发言者的年龄并输出年龄标签，标签格式为<>。",
        "<GENDER>": "根据下述音频内容判断说话者性别，返回性别标签，格式为<>.",
        "<STYLE>": "对于以下音频，请直接判断风格并返回风格标签，标签格式为<>。",
        "<EMOTION>": "请鉴别音频中的发言者情感并标出，标签格式为<>。",
        "<CAPTION>": "对音频进行标签化，返回音频事件标签，标签格式为<>。",
        "<AGE> <GENDER>": "请识别以下音频发言者的年龄和性别.",
        "<STYLE> <AGE> <GENDER>": "请对以下音频进行分析，识别说话风格、说话者年龄和性别。",
    }
)
"""OSUM-EChat's prompt for each task, by the task's tags in its data."""

OSUM_TASK_PROMPTS: Mapping[str, str] = MappingProxyType(
    {
        "<TRANSCRIBE>": "执行语音识别任务，将音频转换为文字。",
        "<TRANSCRIBE> <ALIGN>": (
            "请转录音频内容，并为每个英文词汇及其对应的中文翻译标注出精确到0.1秒的起止时间，"
            "时间范围用<>括起来。"
        ),
        "<TRANSCRIBE> <CAPTION>": (
            "请将音频转录为文字记录，并在记录末尾标注<音频事件>标签，音频事件共8种："
            "laugh，cough，cry，screaming，sigh，throat clearing，sneeze，other。"
        ),
        "<TRANSCRIBE> <EMOTION>": (
            "请将音频内容转录成文字记录，并在记录末尾标注<情感>标签，情感共8种："
            "sad，anger，neutral，happy，surprise，fear，disgust，和other。"
        ),
        "<TRANSCRIBE> <STYLE>": (
            "请将音频内容进行文字转录，并在最后添加<风格>标签，标签共8种："
            "新闻科普、恐怖故事、童话故事、客服、诗歌散文、有声书、日常口语、其他。"
        ),
        "<TRANSCRIBE> <GENDER>": (
            "请将音频转录为文本，并在文本结尾处标注<性别>标签，性别为female或male。"
        ),
        "<TRANSCRIBE> <AGE>": (
            "请将音频转录为文本，并在文本结尾处标注<年龄>标签，年龄划分为child、adult和old三种。"
        ),
        "<TRANSCRIBE> <S2TCHAT>": (
            "首先将语音转录为文字，然后对语音内容进行回复，转录和文字之间使用<开始回答>分割。"
        ),
    }
)
"""OSUM's prompts, which name the labels."""

AUDIO_MARK = "<|user_audio|>"
"""Where `CHAT_TEMPLATE` puts the user's audio; the processor replaces it by ids."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '"
    + AUDIO_MARK
    + "' }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The chat template in Jinja, for transformers; `template.Template` writes the same in ids."""
