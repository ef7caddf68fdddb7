"""The closed vocabularies of facts, English beside Chinese.

A fact in these words is understood in either language and can be told in the other. Each entry is
`key: (English forms, Chinese forms)`: the key is what the store keeps and what English is rendered
with, the first Chinese form is what Chinese is rendered with.
"""

from __future__ import annotations

Vocabulary = dict[str, tuple[str, str]]

PEOPLE: Vocabulary = {
    "mother": ("mother mum mom mummy mama", "妈妈 母亲 老妈 妈"),
    "father": ("father dad daddy papa", "爸爸 父亲 老爸 爸"),
    "sister": ("sister", "姐妹"),
    "older sister": ("older_sister big_sister elder_sister", "姐姐 姐"),
    "younger sister": ("younger_sister little_sister baby_sister", "妹妹 妹"),
    "brother": ("brother", "兄弟"),
    "older brother": ("older_brother big_brother elder_brother", "哥哥 哥"),
    "younger brother": ("younger_brother little_brother baby_brother", "弟弟 弟"),
    "wife": ("wife", "妻子 老婆 太太"),
    "husband": ("husband", "丈夫 老公 先生"),
    "partner": ("partner fiancé fiancée fiance fiancee", "伴侣 爱人 对象"),
    "girlfriend": ("girlfriend", "女朋友 女友"),
    "boyfriend": ("boyfriend", "男朋友 男友"),
    "son": ("son little_boy", "儿子"),
    "daughter": ("daughter little_girl", "女儿"),
    "baby": ("baby", "宝宝"),
    "grandmother": ("grandmother grandma granny gran nan nana", "奶奶 外婆 姥姥"),
    "grandfather": ("grandfather grandad granddad grandpa", "爷爷 外公 姥爷"),
    "aunt": ("aunt auntie", "阿姨 姑姑 姨妈"),
    "uncle": ("uncle", "叔叔 舅舅 伯伯"),
    "cousin": ("cousin", "表亲 表哥 表姐 表弟 表妹 堂哥 堂姐"),
    "best friend": ("best_friend", "最好的朋友 闺蜜"),
    "friend": ("friend", "朋友"),
    "flatmate": ("flatmate roommate housemate", "室友"),
    "boss": ("boss manager", "老板 上司"),
    "teacher": ("teacher", "老师"),
}

PETS: Vocabulary = {
    "dog": ("dog puppy", "狗 小狗 狗狗"),
    "cat": ("cat kitten", "猫 小猫 猫咪"),
    "rabbit": ("rabbit bunny", "兔子"),
    "hamster": ("hamster", "仓鼠"),
    "bird": ("bird parrot budgie canary", "鸟 鹦鹉 小鸟"),
    "horse": ("horse pony", "马"),
    "fish": ("fish goldfish", "鱼 金鱼"),
    "tortoise": ("tortoise turtle", "乌龟"),
}

STATES: Vocabulary = {
    "is ill": (
        "ill sick unwell poorly very_ill very_sick really_ill really_sick",
        "生病了 病了 病得很重",
    ),
    "is in hospital": ("in_hospital in_the_hospital", "住院了 在医院 在住院"),
    "has cancer": ("cancer got_cancer", "得了癌症"),
    "is pregnant": ("pregnant expecting", "怀孕了"),
    "is getting married": ("getting_married", "要结婚了 快结婚了"),
    "is better": (
        "better much_better well_again out_of_hospital home_from_hospital",
        "好了 出院了 康复了",
    ),
    "is missing": ("missing lost", "不见了 走丢了"),
}

EVENTS: Vocabulary = {
    "an exam": ("exam exams test final finals midterm", "考试 期末考试 期中考试 测验"),
    "a driving test": ("driving_test", "驾照考试 路考"),
    "an interview": ("interview job_interview", "面试"),
    "a doctor's appointment": (
        "doctor's_appointment doctors_appointment hospital_appointment appointment",
        "预约 门诊",
    ),
    "an operation": ("operation surgery", "手术"),
    "a funeral": ("funeral", "葬礼"),
    "a wedding": ("wedding", "婚礼"),
    "a presentation": ("presentation talk speech", "演讲 报告"),
    "a deadline": ("deadline", "截止日期"),
    "a meeting": ("meeting big_meeting", "会议 会"),
    "a date": ("date", "约会"),
    "a party": ("party birthday_party", "聚会 派对"),
    "a concert": ("concert gig", "音乐会 演唱会"),
    "a match": ("match game race", "比赛"),
    "a flight": ("flight", "航班"),
    "a birthday": ("birthday", "生日"),
}

JOBS: Vocabulary = {
    "a nurse": ("nurse", "护士"),
    "a doctor": ("doctor gp surgeon", "医生 大夫"),
    "a teacher": ("teacher", "老师 教师"),
    "a student": ("student", "学生 大学生"),
    "an engineer": ("engineer", "工程师"),
    "a programmer": ("programmer software_engineer software_developer developer", "程序员"),
    "a driver": ("driver taxi_driver bus_driver lorry_driver truck_driver", "司机"),
    "a cook": ("cook chef", "厨师"),
    "a waiter": ("waiter waitress", "服务员"),
    "a lawyer": ("lawyer solicitor barrister", "律师"),
    "an accountant": ("accountant", "会计"),
    "a police officer": ("police_officer policeman policewoman", "警察"),
    "a carer": ("carer care_worker", "护工"),
    "a farmer": ("farmer", "农民"),
    "a musician": ("musician singer pianist", "音乐家 歌手"),
    "a writer": ("writer journalist author", "作家 记者"),
    "an artist": ("artist painter", "画家 艺术家"),
    "a builder": ("builder plumber electrician carpenter", "工人 电工"),
    "a cleaner": ("cleaner", "清洁工"),
    "a shop assistant": ("shop_assistant cashier", "售货员 收银员"),
    "a scientist": ("scientist researcher", "科学家 研究员"),
}

TRAITS: Vocabulary = {
    "vegetarian": ("vegetarian a_vegetarian", "素食者 吃素的"),
    "vegan": ("vegan a_vegan", "纯素食者"),
    "diabetic": ("diabetic a_diabetic", "糖尿病人"),
    "deaf": ("deaf", "聋人"),
    "blind": ("blind", "盲人"),
    "retired": ("retired", "退休的"),
    "pregnant": ("pregnant expecting", "怀孕的"),
    "unemployed": ("unemployed out_of_work", "失业的"),
    "a widow": ("a_widow", "寡妇"),
    "a widower": ("a_widower", "鳏夫"),
}

# After "I" / after 我.
NEWS: Vocabulary = {
    "got the job": (
        "got_the_job got_a_job got_a_new_job",
        "找到工作了 得到了那份工作 拿到了工作 找到新工作了",
    ),
    "lost their job": (
        "lost_my_job got_fired was_fired got_sacked was_made_redundant",
        "失业了 被解雇了 丢了工作",
    ),
    "quit their job": ("quit_my_job left_my_job", "辞职了"),
    "got promoted": ("got_promoted got_a_promotion was_promoted", "升职了"),
    "passed their exam": (
        "passed_my_exam passed_my_exams passed_my_test passed_my_driving_test",
        "考试通过了 通过了考试 考过了",
    ),
    "failed their exam": (
        "failed_my_exam failed_my_exams failed_my_test failed_my_driving_test",
        "考试没通过 考试不及格 考砸了",
    ),
    "got married": ("got_married", "结婚了"),
    "got engaged": ("got_engaged", "订婚了"),
    "got divorced": ("got_divorced", "离婚了"),
    "went through a breakup": (
        "broke_up_with_my_boyfriend broke_up_with_my_girlfriend broke_up_with_my_partner",
        "分手了 失恋了",
    ),
    "moved house": ("moved_house moved", "搬家了"),
    "had a baby": ("had_a_baby", "生孩子了"),
    "had an accident": ("had_an_accident had_a_car_accident", "出车祸了"),
}

# A point in time, as said when it is told; `times.py` says what it means later.
TIMES: Vocabulary = {
    "today": ("today later_today this_morning this_afternoon", "今天"),
    "tonight": ("tonight this_evening", "今晚 今天晚上"),
    "tomorrow": ("tomorrow tomorrow_morning tomorrow_afternoon tomorrow_evening", "明天 明早"),
    "the day after tomorrow": ("the_day_after_tomorrow", "后天"),
    "yesterday": ("yesterday last_night", "昨天"),
    "on Monday": ("on_monday monday this_monday", "周一 星期一 礼拜一"),
    "on Tuesday": ("on_tuesday tuesday this_tuesday", "周二 星期二 礼拜二"),
    "on Wednesday": ("on_wednesday wednesday this_wednesday", "周三 星期三 礼拜三"),
    "on Thursday": ("on_thursday thursday this_thursday", "周四 星期四 礼拜四"),
    "on Friday": ("on_friday friday this_friday", "周五 星期五 礼拜五"),
    "on Saturday": ("on_saturday saturday this_saturday", "周六 星期六 礼拜六"),
    "on Sunday": ("on_sunday sunday this_sunday", "周日 星期天 星期日 礼拜天"),
    "this week": ("this_week later_this_week", "这周 本周 这个星期"),
    "this weekend": ("this_weekend at_the_weekend", "这个周末 周末"),
    "next week": ("next_week", "下周 下星期 下个星期 下礼拜"),
    "this month": ("this_month", "这个月"),
    "next month": ("next_month", "下个月 下月"),
    "soon": ("soon coming_up", "快要 马上"),
    "last week": ("last_week", "上周 上星期 上个星期"),
    "last month": ("last_month", "上个月"),
    "last year": ("last_year", "去年"),
    "last spring": ("last_spring", "去年春天"),
    "last summer": ("last_summer", "去年夏天"),
    "last autumn": ("last_autumn last_fall", "去年秋天"),
    "last winter": ("last_winter", "去年冬天"),
    "recently": ("recently", "最近"),
    "years ago": ("years_ago many_years_ago a_few_years_ago", "很多年前 几年前"),
}


# What somebody may not want to speak of, beside people, pets and events.
TOPICS: Vocabulary = {
    "work": ("work my_job the_office", "工作 上班"),
    "money": ("money debts", "钱 债务"),
    "school": ("school college", "学校 上学"),
    "health": ("health illness my_health", "健康 身体 病情"),
    "cancer": ("cancer", "癌症"),
    "weight": ("weight my_weight", "体重"),
    "family": ("family my_family", "家人 家里 家庭"),
    "parents": ("parents my_parents", "父母 爸妈"),
    "children": ("children kids my_children my_kids", "孩子"),
    "marriage": ("marriage my_marriage", "婚姻"),
    "divorce": ("divorce the_divorce my_divorce", "离婚"),
    "their ex": ("ex my_ex", "前任"),
    "childhood": ("childhood my_childhood", "童年"),
    "the past": ("the_past", "过去"),
    "the accident": ("accident the_accident", "车祸 事故"),
    "death": ("death", "死亡"),
    "the war": ("war the_war", "战争"),
    "politics": ("politics", "政治"),
    "religion": ("religion", "宗教"),
}


VOCABULARIES: dict[str, Vocabulary] = {
    "who": {**PEOPLE, **PETS},
    "state": STATES,
    "event": EVENTS,
    "job": JOBS,
    "trait": TRAITS,
    "news": NEWS,
    "when": TIMES,
    "topic": {**PEOPLE, **PETS, **EVENTS, **TOPICS},
}


def forms(vocabulary: Vocabulary, column: int) -> dict[str, str]:
    """Each form in one language (0 English, 1 Chinese) with its key; English in lower case."""
    return {
        form.replace("_", " "): key
        for key, columns in vocabulary.items()
        for form in columns[column].split()
    }


def chinese(vocabulary: Vocabulary, key: str) -> str:
    """The Chinese word for a key."""
    return vocabulary[key][1].split()[0]
