"""The words of invite codes: short, common, easy to say over a desk, and all different when heard or mistyped a little.

There are 1200, so that two make twenty bits; three guesses at a code succeed once in 480 000.
"""

from __future__ import annotations

from typing import Final

_TEXT: Final = """
acorn acrobat actor adobe agate airport album alcove almanac almond alphabet amber anchor angle ankle antenna antler
anvil apple apricot april apron aquarium arcade arch archer arctic arena armchair arrow artist ashtray aspen atlas
atom attic auburn august aunt autumn avenue avocado awning axle azure
baboon badge badger bagel bakery balcony balloon ballet bamboo banana bandage banjo banner barley barn barrel basil
basin basket bassoon bathtub battery beach beacon beagle beaker beard beaver bedroom beehive beetle bell belt bench
berry bicycle birch biscuit bison blanket blender blizzard block blossom blouse blue boat bobcat bonfire bonnet book
boot bottle boulder bowl bracelet bracket branch brass bread breeze brick bridge broccoli bronze brook broom brother
brush bubble bucket buckle buffalo bugle bulb bumper bungalow bunny burger bus butter button
cabbage cabin cabinet cable cactus cake calendar camel camera camp canal candle candy canoe canvas canyon caramel
caravan cardinal carnival carpet carriage carrot cartoon cascade cashew castle catalog cattle cavern cedar ceiling
celery cello cement center cereal chain chair chalk champion channel chapel chapter charcoal charm cheese cherry
chess chestnut chicken chimney chisel chorus chowder cider cinema cinnamon circle circus citrus city clam clarinet
clay cliff clock closet cloud clover cobalt cobbler cobra cocoa coconut coffee collar comet compass concert condor
cookie copper coral corduroy corn corner cosmos cottage cotton couch cougar cousin coyote crab cracker cradle crane
crater crayon cream creek cricket crimson crocus crown crumb crystal cube cucumber cupboard curtain cushion custard
cycle cyclone cymbal cypress
daffodil dahlia daisy damson dancer dandy dawn deacon december deer delta denim dentist depot desert desk diagram
dial diamond diary diesel diner dingo dinner dinosaur diploma dish diver dock doctor dolphin domino donkey doodle
door doorbell doughnut dove dragon drawer dream dress drill driver drizzle drum duchess duck dumpling dune dusk dynamo
eagle earring earth easel echo eclipse editor eggplant eight elbow elder elephant elevator elk ember emerald emperor
engine envelope equator eraser escort estate evening evergreen express eyebrow
fabric factory falcon family farmer fashion father faucet feather february fence fennel fern ferret ferry festival
fiddle field fifty figure filter finch finger fir fireman fish flag flamingo flannel flask flax fleece flint flood
flower flute foam focus fog folder forest fork fortress fossil fountain fox freckle freezer friday frog frost
fruit fudge funnel furnace
gable galaxy gallery gallon game garage garden garlic garnet gate gazebo gazelle gecko gentle geyser giant ginger
giraffe glacier glass glider globe glove glue goat goblet gold golf gondola goose gopher gorilla gown granite grape
graph grass gravel gravity green griddle grocer grotto grove guitar gull gumdrop gypsum
hail hallway hamlet hammer hammock hamster handle hangar harbor harmony harness harp harvest hat hatch hawk hazel
headband heart heather hedge hedgehog helmet hemlock herald herb heron hickory hill hippo hive hockey holiday holly
honey hood hook horizon hornet horse hotel hour house hummus hunter husky hyacinth hydrant
ibis iceberg icicle igloo iguana impala incense indigo ink inlet insect island ivory ivy
jackal jacket jade jaguar jam january jar jasmine javelin jeans jelly jersey jester jewel jigsaw jogger journal
judge juggler juice july jumper june jungle juniper jury
kale kangaroo karate kayak kennel kernel kettle key kidney king kiosk kitchen kite kitten kiwi knee knot koala
label lace ladder ladle lagoon lake lamb lamp lantern laptop larch lasagna laser lasso lattice laurel lava lavender
lawn leader leaf leather lecture ledger lemon lemur lentil leopard letter lettuce level lever library lichen lilac
lily lime linen lion lipstick lizard llama lobby lobster locket locust lodge lotus lumber lunar lunch lynx lyric
macaroni machine magenta magic magnet magpie mahogany mailbox mallard mammoth mandolin mango mansion maple marble
march margin marigold market marlin maroon marsh mascot mason matrix mattress mayor meadow medal medley melody melon
member menu mercury merlin mesa metal meteor midnight mile milk mimosa mineral minnow mint minute mirror mist
mitten mixer mocha model molasses monarch monday monkey monsoon moon moose morning mosaic moss mother motor mountain
mouse muffin mug mulberry mule muscle museum mushroom music muslin mustang mustard myrtle
napkin narwhal nature navy nebula necklace nectar needle neon nephew nest nettle nickel night nine noodle north
notebook nougat novel november nozzle nugget number nurse nutmeg nylon
oak oasis oatmeal oboe ocean ocelot october octopus office olive omelet onion onyx opal opera orange orbit orchard
orchid organ oregano origami osprey ostrich otter oven owl oxygen oyster
paddle padlock page painter palace palm pancake panda panel panther papaya paper paprika parade parcel parka
parrot parsley party passport pasta pastel pasture patio peach peacock peanut pear pearl pebble pecan pedal pelican
pencil penguin pepper perch perfume petal petunia pewter phantom phone photo piano pickle picnic picture pier pigeon
pillar pillow pilot pine pink pioneer pirate pistachio pizza planet plank plaster plate plaza plum pocket poem poet
polar polka pollen pond pony poodle poplar poppy porch porridge portrait possum postcard potato pottery powder prairie
pretzel prince printer prism propeller prune pudding puddle puffin pulley puma pumpkin puppet purple puzzle pyramid
python
quail quarry quarter quartz queen quill quilt quince quiver quiz
rabbit raccoon racket radar radio radish raft railway rainbow raisin ramp ranch ranger raspberry rattle raven ravine
razor recipe record redwood reef referee reindeer relay relish reptile rhubarb rhythm ribbon rice riddle ridge ring
river road robin robot rocket roof rooster rope rose rosemary rotor rowboat royal rubber ruby rudder rug ruler
saddle safari saffron sage sailor salad salmon salsa salt sand sandal sapphire sardine satchel satin saturday saturn
sauce saucer sausage savanna sawdust saxophone scallop scarf scarlet school scissors scooter scroll seagull season
seaweed second seed sequin sesame seven shadow shamrock shark shawl shed shelf shell shepherd sheriff sherbet shield
ship shirt shovel shrimp shutter silk silver singer siren sister skate ski skillet skirt skunk sky sled sleeve
slipper sloth slug smoke snail snow soap soccer socket sofa soil solar sonnet soup south spade spaniel spark sparrow
spatula spider spinach spiral splash sponge spoon spring sprinkle spruce squash squid squirrel stable stadium stamp
staple star station statue steam steel stencil stereo stone stool storm story stove straw stream street string
stripe studio stump sturgeon submarine subway sugar suitcase sulfur summer summit sunday sunflower sunset supper
surfer swallow swamp swan sweater swing sword symbol syrup
table tablet taco tadpole taffy tailor tambourine tango tangerine tapestry tassel tavern taxi teacher teacup teapot
telescope temple tennis tent terrace theater thicket thimble thistle thread throne thumb thunder thursday thyme
ticket tiger timber tinsel toad toast toaster toffee tomato tonic toolbox topaz torch tornado tortoise toucan towel
tower tractor traffic trail train trapeze treasure tree trellis triangle tribune tricycle trolley trombone trophy
trout truck truffle trumpet trunk tuba tuesday tugboat tulip tuna tundra tunnel turban turbine turkey turnip turtle
tuxedo tweed twig twilight twin typhoon
umbrella uncle unicorn uniform upland uranium urchin usher
valley valve vanilla vapor vase vault velvet vendor venus veranda vessel vest village vine vinegar vineyard violet
violin viper visitor vitamin volcano voyage vulture
waffle wagon waiter walnut walrus waltz wardrobe warehouse wasabi washer water wave weasel weather wedding wednesday
week whale wheat wheel whisker whistle wicker widget willow wind window winter wizard wolf wombat wood wool workshop
wreath wren wrist writer
yacht yard yarn yellow yodel yogurt yucca
zebra zenith zeppelin zero zigzag zinc zipper zodiac zucchini
"""
WORDS: Final = tuple(_TEXT.split())
