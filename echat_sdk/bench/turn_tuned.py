"""The clips on which the numbers of turn-taking were tuned.

Figures that they give flatter: `turn_held_out` has those that nobody tuned on.
"""

from __future__ import annotations

from types import MappingProxyType

from echat_sdk.bench.turn_scripts import ClipSet, Room, Speaker
from echat_sdk.model.cascade.prosody import Prosody

TUNED = ClipSet(
    name="tuned",
    turns=MappingProxyType(
        {
            ("complete", "en"): (
                "My dog Rex died yesterday.",
                "I got the job!",
                "What time does the train to Boston leave tomorrow?",
                "I had a really long day at work and I just want to lie down.",
                "Can you help me?",
                "My sister is coming to visit us next weekend.",
                "No, I have never been there.",
                "Thank you, that was very kind of you.",
            ),
            ("complete", "zh"): ("我今天找到工作了。", "明天会下雨吗？"),
            ("pause", "en"): (
                "I was thinking about <0.6> maybe going home for a while.",
                "My mother called me this morning <0.9> and she told me the news.",
                "If it rains on Saturday, |0.5| we will stay at home.",
                "The thing that worries me most <1.2> is the money.",
                "I would like to order, |0.4| two coffees, |0.8| and a piece of cake.",
                "When I was a child <0.7> we lived near the sea.",
                "My number is five five five <0.8> two one nine four.",
                "She said that she wanted to <0.5> go there alone.",
                "He has been in the hospital <1.0> since last Tuesday.",
                "I really do not know <0.4> what I should <1.5> say to him.",
                "The doctor told me that <0.7> I have to rest for a week.",
                "Yesterday I went to the <0.5> bank to open an account.",
                "We have two dogs <0.6> and a very old cat.",
                "Could you tell me <0.9> how I get to the airport <0.6> from here?",
                "My daughter is <0.8> getting married in June.",
                "I think <0.4> that he was <1.1> angry with me.",
                "First you turn left, |0.7| then you go straight on.",
                "I have not slept <0.5> since my husband left <1.3> in March.",
            ),
            ("pause", "zh"): (
                "我昨天去了医院，|0.8| 医生说没事。",
                "我想问一下 <0.6> 这个多少钱？",
            ),
            ("filler", "en"): (
                "I need, |0.4| um, |0.6| a table for two.",
                "So, |0.5| uh, |0.5| my brother is getting married.",
                "It is like, |0.4| hmm, |0.9| like nobody listens to me.",
                "Um, |0.7| could you say that again?",
                "We met at the, |0.5| uh, |0.8| at the station in Berlin.",
                "Well, |0.6| you know, |0.7| it was not my fault.",
            ),
            ("filler", "zh"): ("嗯…… |0.6| 我不太清楚。", "我想买那个…… |0.9| 红色的杯子。"),
            ("trailing", "en"): (
                "I wanted to call her, and then I… |1.5| I just could not do it.",
                "Maybe if I had been there… |1.3| but it is too late now.",
                "We could go to the cinema, or… |1.0| or we could stay in.",
                "He never said a word, so… |1.4| so I left.",
                "I do not know, I just thought that maybe…",
            ),
            ("trailing", "zh"): ("我本来想告诉她，可是…… |1.2| 算了吧。",),
        }
    ),
    noisy=MappingProxyType(
        {
            "en": (
                "What time does the train to Boston leave tomorrow?",
                "My mother called me this morning, |0.9| and she told me the news.",
            )
        }
    ),
    agent=MappingProxyType(
        {
            "en": (
                "I am so sorry to hear that. It sounds like it has been a very hard week for you. "
                "Do you want to tell me a little more about what happened?",
                "That is wonderful news! You have worked so hard for this, and it really paid off. "
                "When do you start, and how are you going to celebrate?",
            ),
            "zh": ("听到这个消息我真的很难过，你一定很不好受。",),
        }
    ),
    over=MappingProxyType(
        {
            ("backchannel", "en"): ("Mm-hm.", "Yeah.", "Okay.", "Right.", "Oh really?", "I see."),
            ("backchannel", "zh"): ("嗯。", "对。"),
            ("stop", "en"): ("Stop.", "Wait, wait.", "Hold on a second.", "Stop talking please."),
            ("stop", "zh"): ("等一下。",),
            ("words", "en"): (
                "No, that is not what I meant.",
                "Actually, can I ask you something else?",
                "But it was my own fault.",
                "What did you say?",
                "I do not want to talk about that any more.",
            ),
            ("words", "zh"): ("不是这样的。",),
        }
    ),
    babble=(
        "The meeting was moved to Thursday because nobody had read the report.",
        "They opened a new bakery at the corner and the bread is very good.",
        "You should have seen his face when the waiter brought the bill.",
        "It takes about forty minutes by bus if there is no traffic.",
    ),
    sounds=range(4),
    speakers=MappingProxyType(
        {
            "en": (
                Speaker(None, Prosody()),
                Speaker(None, Prosody(pitch=-5, rate=0.95)),
                Speaker(None, Prosody(pitch=2.5, rate=1.1)),
                Speaker(None, Prosody(pitch=-3, rate=1.05)),
            ),
            "zh": (Speaker(None, Prosody()),),
        }
    ),
    agents=MappingProxyType({"en": Speaker(None, Prosody()), "zh": Speaker(None, Prosody())}),
    hanging=Prosody(final=1.5, rate=0.92),
    filling=Prosody(range=0.3, rate=0.8),
    room=Room(late=0.03, fades=0.06, tail=0.3, floor=-62.0, seed=0),
)
