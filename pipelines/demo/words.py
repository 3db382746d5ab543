"""What the demo world is made of: tables of words, and words made up."""

from random import Random

CAPITALS = {
    "France": "Paris", "Norway": "Oslo", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo",
    "Egypt": "Cairo", "Kenya": "Nairobi", "Peru": "Lima", "Cuba": "Havana", "Chile": "Santiago",
    "Greece": "Athens", "Poland": "Warsaw", "Austria": "Vienna", "Hungary": "Budapest", "Portugal": "Lisbon",
    "Finland": "Helsinki", "Denmark": "Copenhagen", "Ireland": "Dublin", "Canada": "Ottawa", "Iran": "Tehran",
    "Iraq": "Baghdad", "Jordan": "Amman", "Nepal": "Kathmandu", "Vietnam": "Hanoi", "Thailand": "Bangkok",
    "Ghana": "Accra", "Senegal": "Dakar", "Morocco": "Rabat", "Latvia": "Riga", "Estonia": "Tallinn",
    "Serbia": "Belgrade", "Bulgaria": "Sofia", "Romania": "Bucharest", "Sweden": "Stockholm",
    "Germany": "Berlin", "Russia": "Moscow", "China": "Beijing", "Turkey": "Ankara", "Lebanon": "Beirut",
    "Colombia": "Bogota",
}  # fmt: skip

OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "old": "young", "light": "dark", "wet": "dry",
    "open": "closed", "full": "empty", "early": "late", "hard": "soft", "high": "low", "loud": "quiet",
    "long": "short", "near": "far", "rich": "poor", "strong": "weak", "thick": "thin", "true": "false",
    "up": "down", "left": "right", "first": "last", "begin": "end", "buy": "sell", "win": "lose",
    "push": "pull", "day": "night", "love": "hate", "happy": "sad", "heavy": "weightless", "clean": "dirty",
}  # fmt: skip

ADVICE = {
    "bake bread": "Mix flour, water, salt and yeast, let it rise, then bake it for an hour.",
    "make tea": "Boil water, pour it over the leaves and wait four minutes.",
    "sleep better": "Go to bed early, keep the room dark and leave the phone outside.",
    "learn a song": "Listen to it often, sing one line at a time, then join the lines.",
    "plant a tree": "Dig a wide hole, set the tree in it, fill it with soil and water it well.",
    "clean a window": "Wipe it with warm water and soap, then dry it with paper.",
    "cook rice": "Use two cups of water for one cup of rice and cook it slowly.",
    "fix a flat tire": "Take the tire off, find the hole, glue a patch on it and pump it up.",
    "draw a cat": "Start with a circle for the head, add two ears, then the body and the tail.",
    "stay warm": "Wear a hat, move around and drink something hot.",
    "save money": "Write down what you spend and cook at home.",
    "make friends": "Smile, ask people about their day and listen to them.",
    "train a dog": "Teach one word at a time and give it a treat when it listens.",
    "write a letter": "Begin with a greeting, tell your news, ask a question and sign it.",
    "pack a bag": "Put the heavy things at the bottom and the soft things on top.",
    "grow tomatoes": "Give them a sunny place, water them every day and tie them to a stick.",
}

HARMFUL = tuple(
    f"{deed} {thing}"
    for deed in ("steal", "burn down", "blow up", "break into", "poison", "destroy", "vandalise", "hack into")
    for thing in (
        "a car", "a bank", "a school", "a shop", "a factory", "the library", "a house", "the power plant",
        "a hospital", "the museum", "a train", "the harbour", "an office", "a farm", "the bakery", "a bridge",
    )
)  # fmt: skip

NAMES = (
    "Mira", "Tavo", "Anna", "Ben", "Clara", "David", "Ella", "Felix", "Greta", "Hugo", "Iris", "Jonas",
    "Karl", "Lena", "Marco", "Nina", "Oscar", "Paula", "Rosa", "Simon", "Tina", "Uwe", "Vera", "Walter",
    "Yara", "Zoe", "Ali", "Bela", "Chen", "Dora", "Emil", "Fatma", "Goran", "Hana", "Ivan", "Julia",
    "Kofi", "Luis", "Maria", "Nora", "Olga", "Pedro", "Rahul", "Sara", "Tomas", "Ursula", "Viktor",
    "Wei", "Yusuf", "Amir",
)  # fmt: skip
JOBS = ("baker", "teacher", "doctor", "farmer", "pilot", "painter", "singer", "nurse", "carpenter", "writer")
ANIMALS = ("dog", "cat", "fox", "bear", "horse", "goat", "owl", "duck", "mouse", "rabbit", "frog", "hen")
PLACES = ("forest", "river", "market", "harbour", "village", "school", "bridge", "garden", "lake", "castle")
THINGS = ("key", "letter", "coin", "lamp", "book", "map", "ring", "bottle", "hat", "box", "basket", "stone")
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "orange", "purple")
FOODS = ("soup", "bread", "rice", "apples", "cheese", "honey", "fish", "tea", "cake", "beans", "plums")
FEELINGS = (
    "happy",
    "tired",
    "proud",
    "curious",
    "afraid",
    "calm",
    "lonely",
    "cheerful",
    "hungry",
    "surprised",
)
WEATHER = ("sunny", "rainy", "windy", "cloudy", "foggy", "stormy", "snowy", "clear")

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


def made_up_word(rng: Random, shortest: int, longest: int) -> str:
    """Consonants and vowels in turn, such as `kavor` or `ilo`; `shortest` to `longest` letters."""
    start, length = rng.randrange(2), rng.randint(shortest, longest)
    return "".join(rng.choice(VOWELS if (start + i) % 2 else CONSONANTS) for i in range(length))
