"""The table of all kinds of product: name, category, drawing function, stance, materials, prices and synonyms."""

from collections.abc import Callable
from dataclasses import dataclass

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.pen import Pen
from jobs.sample.kinds import accessories, bags, clothing, furniture, home, shoes, toys_and_sport


@dataclass(frozen=True)
class Kind:
    """A kind of product.

    Attributes:
        stance: "lies" (seen from above, at any angle), "stands" (on a surface) or "hangs".
        foot: the y in object space at which a standing product touches the surface.
        gloss: of its paints, see `Paint`.
        prices: lowest and highest.
        synonyms: other words for its name.
        period: the repeat of a pattern on it, in object units.
    """

    name: str
    category: str
    draw: Callable[[Pen, Design], None]
    stance: str
    foot: float
    materials: tuple[str, ...]
    gloss: float
    prices: tuple[float, float]
    synonyms: tuple[str, ...] = ()
    period: float = 0.3


_CLOTH = ("cotton", "linen", "jersey", "organic cotton")
_LEATHER = ("leather", "suede", "canvas", "nubuck")
_CLAY = ("stoneware", "porcelain", "ceramic", "enamel")
_COVER = ("velvet", "linen", "bouclé", "wool")
_TOY = ("recycled plastic", "beech wood", "felt")

# Each kind takes two lines: name to foot; materials, gloss, prices, synonyms and pattern size.
# fmt: off
_ALL = (
    Kind("t-shirt", "Clothing", clothing.t_shirt, "lies", 0.9,
         _CLOTH, 0.0, (12, 45), ("tee", "tshirt", "t shirt")),
    Kind("sweater", "Clothing", clothing.sweater, "lies", 0.9,
         ("merino", "lambswool", "cotton knit"), 0.0, (35, 120), ("jumper", "pullover")),
    Kind("jacket", "Clothing", clothing.jacket, "lies", 0.9,
         ("denim", "waxed cotton", "wool", "nylon"), 0.05, (60, 240), ("coat", "blazer")),
    Kind("dress", "Clothing", clothing.dress, "lies", 0.9,
         ("viscose", "cotton", "silk blend"), 0.05, (40, 180), ("frock", "gown")),
    Kind("skirt", "Clothing", clothing.skirt, "lies", 0.9,
         ("cotton", "viscose", "wool blend"), 0.02, (25, 95), ()),
    Kind("trousers", "Clothing", clothing.trousers, "lies", 0.9,
         ("cotton twill", "linen", "corduroy"), 0.0, (35, 130), ("pants", "slacks")),
    Kind("sneaker", "Shoes", shoes.sneaker, "stands", 0.62,
         ("canvas", "mesh", "leather"), 0.1, (45, 150), ("trainer", "running shoe"), 0.28),
    Kind("boot", "Shoes", shoes.boot, "stands", 0.66,
         _LEATHER, 0.25, (80, 260), ("ankle boot",), 0.28),
    Kind("sandal", "Shoes", shoes.sandal, "lies", 0.9,
         _LEATHER, 0.2, (30, 110), ("summer shoe",), 0.28),
    Kind("high heel", "Shoes", shoes.high_heel, "stands", 0.66,
         ("satin", "leather", "suede"), 0.45, (60, 220), ("pump", "stiletto", "heels"), 0.28),
    Kind("backpack", "Bags", bags.backpack, "stands", 0.91,
         ("canvas", "nylon", "waxed cotton"), 0.05, (40, 160), ("rucksack", "school bag")),
    Kind("handbag", "Bags", bags.handbag, "stands", 0.9,
         ("leather", "vegan leather", "suede"), 0.35, (50, 320), ("purse",)),
    Kind("tote bag", "Bags", bags.tote_bag, "stands", 0.9,
         ("canvas", "jute", "organic cotton"), 0.0, (15, 70), ("tote", "shopper")),
    Kind("suitcase", "Bags", bags.suitcase, "stands", 0.95,
         ("polycarbonate", "aluminium", "nylon"), 0.5, (70, 290), ("trolley", "luggage")),
    Kind("mug", "Kitchen", home.mug, "stands", 0.9,
         _CLAY, 0.8, (8, 32), ("cup", "coffee cup")),
    Kind("teapot", "Kitchen", home.teapot, "stands", 0.88,
         _CLAY, 0.9, (24, 85), ("tea pot",)),
    Kind("bottle", "Kitchen", home.bottle, "stands", 0.9,
         ("steel", "glass", "aluminium"), 0.6, (12, 48), ("water bottle", "flask")),
    Kind("bowl", "Kitchen", home.bowl, "stands", 0.88,
         _CLAY, 0.8, (9, 45), ("salad bowl", "dish")),
    Kind("vase", "Home", home.vase, "stands", 0.9,
         ("stoneware", "glass", "porcelain"), 0.8, (18, 110), ("flower vase",)),
    Kind("lamp", "Home", home.lamp, "stands", 0.88,
         ("linen", "paper", "cotton"), 0.0, (35, 190), ("table lamp", "light")),
    Kind("cushion", "Home", home.cushion, "lies", 0.9,
         _COVER, 0.05, (15, 70), ("pillow", "throw pillow")),
    Kind("clock", "Home", home.clock, "hangs", 0.9,
         ("beech", "steel", "bamboo"), 0.3, (20, 95), ("wall clock",)),
    Kind("chair", "Furniture", furniture.chair, "stands", 0.9,
         ("velvet", "beech", "wool"), 0.05, (80, 320), ("dining chair",), 0.26),
    Kind("armchair", "Furniture", furniture.armchair, "stands", 0.9,
         _COVER, 0.05, (180, 900), ("easy chair", "reading chair")),
    Kind("sofa", "Furniture", furniture.sofa, "stands", 0.84,
         _COVER, 0.05, (400, 1900), ("couch", "settee"), 0.26),
    Kind("stool", "Furniture", furniture.stool, "stands", 0.9,
         ("velvet", "linen", "leather"), 0.1, (45, 180), ("footstool", "bar stool"), 0.26),
    Kind("sunglasses", "Accessories", accessories.sunglasses, "lies", 0.5,
         ("acetate", "bio-acetate"), 0.8, (25, 190), ("shades",), 0.28),
    Kind("cap", "Accessories", accessories.cap, "lies", 0.5,
         ("cotton twill", "corduroy", "wool"), 0.0, (15, 45), ("baseball cap",)),
    Kind("sun hat", "Accessories", accessories.sun_hat, "lies", 0.6,
         ("straw", "cotton", "raffia"), 0.0, (20, 75), ("hat", "wide-brimmed hat")),
    Kind("umbrella", "Accessories", accessories.umbrella, "hangs", 0.9,
         ("pongee", "recycled polyester"), 0.15, (18, 70), ("brolly", "parasol")),
    Kind("scarf", "Accessories", accessories.scarf, "lies", 0.9,
         ("cashmere", "wool", "cotton"), 0.0, (20, 140), ("neck scarf", "shawl")),
    Kind("watch", "Accessories", accessories.watch, "lies", 0.9,
         ("leather", "nylon", "silicone"), 0.25, (60, 420), ("wristwatch", "wrist watch"), 0.28),
    Kind("ball", "Toys & Sport", toys_and_sport.ball, "stands", 0.86,
         ("rubber", "vinyl", "leather"), 0.6, (8, 40), ("football", "play ball")),
    Kind("kite", "Toys & Sport", toys_and_sport.kite, "hangs", 0.9,
         ("ripstop nylon", "polyester"), 0.1, (15, 65), ()),
    Kind("guitar", "Toys & Sport", toys_and_sport.guitar, "lies", 0.9,
         ("spruce", "mahogany", "maple"), 0.7, (90, 600), ("acoustic guitar",)),
    Kind("skateboard", "Toys & Sport", toys_and_sport.skateboard, "lies", 0.9,
         ("maple", "bamboo"), 0.4, (40, 140), ("skate deck",)),
    Kind("teddy bear", "Toys & Sport", toys_and_sport.teddy_bear, "stands", 0.9,
         ("plush", "mohair", "felt"), 0.0, (15, 65), ("teddy", "stuffed bear")),
    Kind("toy rocket", "Toys & Sport", toys_and_sport.toy_rocket, "stands", 0.9,
         _TOY, 0.5, (12, 58), ("rocket", "spaceship")),
)
# fmt: on

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
CATEGORIES: tuple[str, ...] = tuple(dict.fromkeys(kind.category for kind in _ALL))
