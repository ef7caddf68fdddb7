"""The clips on which nothing was ever tuned: other sentences, pauses, voices, rooms and noises.

Whoever changes a policy looks at `turn_tuned`; these tell what the change is worth. A set on which
a number was chosen can no longer do that: write another.
"""

from __future__ import annotations

from types import MappingProxyType

from echat_sdk.bench.turn_scripts import ClipSet, Room, Speaker
from echat_sdk.model.cascade.prosody import Prosody

HELD_OUT = ClipSet(
    name="held-out",
    turns=MappingProxyType(
        {
            ("complete", "en"): (
                "The kitchen tap has been dripping since Monday.",
                "Do you know a good place for lunch?",
                "We won the final by two goals!",
                "I moved here three years ago to be closer to my parents.",
                "It hurts when I bend my knee.",
                "That is what I was looking for.",
                "Please turn the lights off.",
                "She passed her driving test this morning.",
            ),
            ("complete", "zh"): ("我儿子今天第一次走路了。", "附近有没有好吃的面馆？"),
            ("pause", "en"): (
                "We used to go camping <0.7> every summer with my cousins.",
                "I left my keys on the <0.6> kitchen table, I think.",
                "After the operation, |0.8| she could not walk for a month.",
                "What I really want <1.0> is to sleep for a whole day.",
                "The appointment is on the fourteenth <0.9> at half past nine.",
                "I tried to explain it to him <0.8> but he would not listen.",
                "Please remind me to buy, |0.5| milk, |0.7| bread, |0.6| and some apples.",
                "It costs about <0.5> twenty pounds a month.",
                "My neighbour, |0.4| the one with the red car, |0.7| moved out last week.",
                "There is something <1.1> I have never told anybody.",
                "The children are fine, |0.6| they are with their grandmother.",
                "Is there a pharmacy <0.7> that is open on Sundays?",
                "We have been together for <0.9> eleven years.",
                "I am calling because <0.8> my heating has stopped working.",
                "Every time I see her <1.3> I think of my own mother.",
                "He got into <0.6> medical school after all.",
                "My blood pressure was <0.5> a hundred and forty <0.8> over ninety.",
                "Honestly <0.5> I would rather <1.2> stay at home tonight.",
            ),
            ("pause", "zh"): (
                "我们打算下个月，|0.7| 一起去云南旅行。",
                "他跟我说 <0.8> 他不想干了。",
            ),
            ("filler", "en"): (
                "It was, |0.5| um, |0.7| three weeks ago.",
                "Hmm, |0.8| let me think about that.",
                "I was going to, |0.4| uh, |0.6| ask you about the bill.",
                "The thing is, |0.6| um, |0.9| I have already paid.",
                "Uh, |0.5| my name is Thomas Green.",
                "They gave us, |0.5| you know, |0.7| the smaller room.",
            ),
            ("filler", "zh"): (
                "那个…… |0.7| 请问洗手间在哪里？",
                "我觉得，|0.4| 嗯，|0.8| 还是明天再说吧。",
            ),
            ("trailing", "en"): (
                "I thought we were friends, but… |1.4| never mind.",
                "If only I had listened to her… |1.2| well, what can you do.",
                "So the doctor looked at me and… |1.6| he just shook his head.",
                "We might move to Spain, or maybe… |1.1| I am not sure yet.",
                "It is just that sometimes I feel like…",
            ),
            ("trailing", "zh"): ("其实我一直很想去，只是…… |1.3| 没有时间。",),
        }
    ),
    noisy=MappingProxyType(
        {
            "en": (
                "Do you know when the museum closes on Fridays?",
                "I have lost my ticket, |0.8| and my train leaves in ten minutes.",
            ),
            "zh": ("请问去火车站怎么走？",),
        }
    ),
    agent=MappingProxyType(
        {
            "en": (
                "It makes sense that you feel torn about it. Moving away from your family is a big "
                "step, and nobody can decide that for you. What does your heart tell you?",
                "Congratulations, that is fantastic! I can hear how proud you are of her. "
                "Shall we think about a nice way to surprise her tonight?",
            ),
            "zh": ("恭喜你，这真是太好了！你打算怎么庆祝呢？",),
        }
    ),
    over=MappingProxyType(
        {
            ("backchannel", "en"): (
                "Uh-huh.",
                "Sure.",
                "Oh wow.",
                "Exactly.",
                "Mm.",
                "That is true.",
            ),
            ("backchannel", "zh"): ("好的。", "是啊。"),
            ("stop", "en"): ("Okay, stop.", "Hang on.", "Please be quiet.", "Wait a minute."),
            ("stop", "zh"): ("别说了。",),
            ("words", "en"): (
                "That is not my question.",
                "Sorry, I have to go now.",
                "Where did you hear that?",
                "I think it started in the spring.",
                "You have already told me that.",
            ),
            ("words", "zh"): ("我想换个话题。",),
        }
    ),
    babble=(
        "We are thinking of painting the bedroom in a light green.",
        "The second half was much better than the first one.",
        "Her flight was delayed, so we waited three hours at the gate.",
        "He always orders the soup and then complains about it.",
        "Could you pass me the salt and the other menu?",
    ),
    sounds=range(4, 8),
    speakers=MappingProxyType(
        {
            "en": (
                Speaker("am_michael", Prosody(rate=1.05)),
                Speaker("bf_emma", Prosody()),
                Speaker("bm_george", Prosody(rate=0.95, loudness=-4)),
                Speaker("af_bella", Prosody(pitch=1, rate=1.1)),
            ),
            "zh": (Speaker("zm_yunxi", Prosody()), Speaker("zm_yunyang", Prosody(rate=1.1))),
        }
    ),
    agents=MappingProxyType(
        {"en": Speaker("am_fenrir", Prosody()), "zh": Speaker("zf_xiaoyi", Prosody())}
    ),
    hanging=Prosody(final=0.8, rate=0.88),
    filling=Prosody(range=0.4, rate=0.75),
    room=Room(late=0.07, fades=0.2, tail=0.12, floor=-56.0, seed=7),
)
