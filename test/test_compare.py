# Copyright 2026 The mtl_perception authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The command compare: what it counts, what its page shows, and how it ends."""

import csv
from dataclasses import replace
import json
import tracemalloc
from urllib.parse import unquote, urlsplit

from colour_weights import CARD, picture, save_colour_weights
import cv2
import html5lib
from mtl_perception.bags import bag_message_builder, bag_types, new_bag
from mtl_perception.card import ClassNames
from mtl_perception.checkpoint import save_checkpoint
from mtl_perception.cli.compare import main
from mtl_perception.comparison.classes import shared_classes, Translation
from mtl_perception.comparison.frames import Shot
from mtl_perception.comparison.run import run as run_comparison, Side
from mtl_perception.comparison.worst import Worst
from mtl_perception.engine import build_engine
from mtl_perception.frame import Frame
from mtl_perception.messages import OUTPUT_TYPES
import numpy as np
import pytest
from squares import write_squares

IMAGE = 'sensor_msgs/msg/Image'
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 500_000_000
SEEN = [{'red': (16, 16)}, {'red': (16, 16), 'blue': (64, 48)}, {}, {'blue': (80, 16)}]


def variant(source, folder, classes=CARD.classes, sees_blue=True):
    """Write weights like ``source`` with other names, or that do not see blue."""
    onnx = pytest.importorskip('onnx')
    model = onnx.load(source.onnx_path)
    for tensor in model.graph.initializer:
        if tensor.name == 'bias' and not sees_blue:
            bias = onnx.numpy_helper.to_array(tensor).copy()
            bias[[6, 9]] = -60
            tensor.CopyFrom(onnx.numpy_helper.from_array(bias, 'bias'))
    return save_checkpoint(folder, replace(CARD, classes=classes, files={}),
                           model.SerializeToString(), b'none')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_colour_weights(tmp_path_factory.mktemp('weights') / 'colours')


@pytest.fixture(scope='module')
def half_blind(weights, tmp_path_factory):
    return variant(weights, tmp_path_factory.mktemp('weights') / 'half_blind', sees_blue=False)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'photos'
    (folder / 'more').mkdir(parents=True)
    for name, squares in zip(('a', 'b', 'c', 'more/d'), SEEN):
        cv2.imwrite(str(folder / f'{name}.png'), picture(**squares))
    return folder


def run(first, second, source, out, *arguments):
    sides = [str(getattr(side, 'folder', side)) for side in (first, second)]
    return main([*sides, '--on', str(source), '--out', str(out), *map(str, arguments)])


def read_page(out):
    """Return the page, parsed without one error."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse((out / 'index.html').read_text(encoding='utf-8'))


def has_class(page, name):
    return [element for element in page.iter() if name in element.get('class', '').split()]


def text(element):
    return ' '.join(''.join(element.itertext()).split())


def cells(page, section):
    """Return the texts of a section's table, row by row."""
    section = next(element for element in page.iter('section')
                   if element.get('aria-labelledby') == section)
    return [[text(cell) for cell in row] for row in section.iter('tr')]


def read_table(out):
    with open(out / 'frames.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_the_numbers_are_those_of_the_two_engines(weights, half_blind, photos, tmp_path, capsys):
    out = tmp_path / 'page'
    assert run(weights, half_blind, photos, out) == 0
    rows, engines = read_table(out), [build_engine(side) for side in (weights, half_blind)]
    assert [row['name'] for row in rows] == ['a', 'b', 'c', 'more/d']
    for row, squares in zip(rows, SEEN):
        first, second = (engine.infer(Frame(picture(**squares))) for engine in engines)
        own, other = len(first.detections), len(second.detections)
        assert (int(row['boxes_a']), int(row['boxes_b'])) == (own, other)
        assert other == ('red' in squares) and own == len(squares)
        f1 = 2 * other / (own + other) if squares else 1.0
        assert float(row['boxes']) == pytest.approx(1 - f1, abs=1e-4)
        ious = [float(name == 'red') for name in squares]
        assert float(row['mask']) == pytest.approx(1 - np.mean(ious) if squares else 0, abs=1e-4)
        assert float(row['image class']) == 0.0
        parts = [float(row[name]) for name in ('boxes', 'mask', 'image class')]
        assert float(row['score']) == pytest.approx(np.mean(parts), abs=1e-4)
    page = read_page(out)
    assert [text(tile) for tile in has_class(page, 'tiles')[0]] == [
        '2 of 4 frames with clear disagreement', '67 % agreement of boxes (F1)',
        '50 % agreement of masks (mean IoU)', '100 % same image class']
    assert [row[:4] + row[5:] for row in cells(page, 'classes')[1:]] == [
        ['blue', '2', '0', '0', '0.00'], ['red', '2', '2', '2', '1.00']]
    output = capsys.readouterr().out
    assert 'A finds 4 objects, B 2: 2 they share, 2 only A has, 0 only B has' in output
    assert 'clearly disagree on 2 of 4 frames' in output and str(out / 'index.html') in output


def test_the_worst_frames_come_first_with_pictures_of_both_sides(weights, half_blind, photos,
                                                                 tmp_path):
    run(weights, half_blind, photos, tmp_path / 'page')
    page = read_page(tmp_path / 'page')
    cards = has_class(page, 'card')
    assert [text(card.find('.//h3')) for card in cards] == ['more/d', 'b']
    assert [json.loads(card.get('data-classes')) for card in cards] == [['blue'], ['blue']]
    assert [json.loads(card.get('data-tasks')) for card in cards] == [['boxes', 'mask']] * 2
    assert 'only A: blue' in text(cards[0])
    for card in cards:
        images = [cv2.imread(str(tmp_path / 'page' / image.get('src')))
                  for image in card.iter('img')]
        assert len(images) == 2 and (images[0] != images[1]).any()
        for element, image in zip(card.iter('img'), images):
            assert (int(element.get('height')), int(element.get('width'))) == image.shape[:2]
            assert element.get('alt') and element.get('loading') == 'lazy'
    dots = has_class(page, 'dot')
    assert [dot.get('href') for dot in dots] == ['#frame-1', '#frame-3']


def test_a_box_that_one_side_lacks_is_marked(weights, half_blind, photos, tmp_path):
    run(weights, half_blind, photos, tmp_path / 'page')
    marked, plain = (cv2.imread(str(tmp_path / 'page' / 'pictures' / f'000001_{side}.jpg'))
                     for side in 'ab')
    assert (marked > 230).all(axis=2).sum() > 50 > (plain > 230).all(axis=2).sum()


def links(page):
    return [value for element in page.iter() for name, value in element.attrib.items()
            if name in ('href', 'src', 'srcset', 'action', 'poster', 'data')]


def test_everything_lies_in_the_folder(weights, half_blind, photos, tmp_path):
    out = tmp_path / 'page'
    run(weights, half_blind, photos, out)
    page = read_page(out)
    names = {element.get('id') for element in page.iter()}
    for link in links(page):
        parts = urlsplit(link)
        assert parts.scheme in ('', 'data') and not parts.netloc
        if parts.path and not parts.scheme:
            assert (out / unquote(parts.path)).resolve().is_relative_to(out.resolve())
            assert (out / unquote(parts.path)).is_file()
        assert not parts.fragment or parts.fragment in names
    content = (out / 'index.html').read_text(encoding='utf-8')
    for outside in ('http:', 'https:', '//cdn', '@import', 'url(', 'fetch(', 'XMLHttp'):
        assert outside not in content


def test_the_same_weights_differ_nowhere(weights, photos, tmp_path, capsys):
    assert run(weights, weights, photos, tmp_path / 'page') == 0
    assert 'A and B say the same on all 4 frames.' in capsys.readouterr().out
    assert has_class(read_page(tmp_path / 'page'), 'card') == []
    assert list((tmp_path / 'page' / 'pictures').iterdir()) == []


def test_fewer_frames_can_be_shown(weights, half_blind, photos, tmp_path):
    run(weights, half_blind, photos, tmp_path / 'page', '--worst', 1)
    assert len(has_class(read_page(tmp_path / 'page'), 'card')) == 1
    assert len(list((tmp_path / 'page' / 'pictures').iterdir())) == 2


def test_classes_are_matched_by_name_and_others_are_said(weights, photos, tmp_path):
    other = variant(weights, tmp_path / 'weights' / 'turned', replace(
        CARD.classes, detection=('azure', 'red'), segmentation=('background', 'azure', 'red')))
    run(weights, other, photos, tmp_path / 'page')
    page = read_page(tmp_path / 'page')
    notes = [text(note) for note in has_class(page, 'note')]
    assert len(notes) == 2 and 'Only A knows blue.' in notes[0] and 'azure' in notes[1]
    by_name = {row[0].partition(' ')[0]: row[1:4] for row in cells(page, 'classes')[1:]}
    # The turned weights call red squares azure, and blue ones red.
    assert by_name == {'red': ['2', '2', '0'], 'blue': ['2', '0', '0'], 'azure': ['0', '2', '0']}


HOSTILE = ('<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "'; alert(1); '",
           '{{ 7 * 7 }}')


def test_hostile_names_are_text(weights, tmp_path):
    classes = ClassNames(HOSTILE[:2], ('background', *HOSTILE[:2]), HOSTILE[2:])
    sides = [variant(weights, tmp_path / f'<b>{name}', classes, name == 'all')
             for name in ('all', 'half')]
    photos = tmp_path / '"><script>alert(2)<'
    photos.mkdir()
    for name in ('</script><img src=y>', 'blue & "red"'):
        assert cv2.imwrite(str(photos / f'{name.replace("/", "")}.png'),
                           picture(red=(16, 16), blue=(64, 48)))
    run(*sides, photos, tmp_path / 'page')
    page = read_page(tmp_path / 'page')
    assert len(list(page.iter('script'))) == 2 and len(list(page.iter('img'))) == 4
    assert not [name for element in page.iter() for name in element.attrib
                if name.startswith('on')]
    assert list(page.iter('b')) == []
    shown = text(page.find('body'))
    for name in (HOSTILE[0], HOSTILE[1], '<b>all', '"><script>alert(2)<', '<script><img src=y>',
                 'blue & "red"'):
        assert name in shown, name
    assert json.loads(has_class(page, 'card')[0].get('data-classes')) == [HOSTILE[1]]


def test_labels_tell_who_is_right(weights, half_blind, tmp_path, capsys):
    data = write_labelled(tmp_path / 'data', 12)
    assert run(weights, half_blind, data, tmp_path / 'page', '--split', 'val',
               '--resamples', 20) == 0
    from mtl_perception.data.voc import VocDataset
    from mtl_perception.evaluation import evaluate
    samples = VocDataset(data, 'val', CARD.classes)
    expected = [evaluate(build_engine(side).infer, samples, CARD)
                for side in (weights, half_blind)]
    page = read_page(tmp_path / 'page')
    figures = {row[0]: row[1:] for row in cells(page, 'truth')[1:]}
    for title, name in (('mAP 50-95', 'map50_95'), ('mAP 50', 'map50'), ('mIoU', 'miou'),
                        ('top-1', 'top1')):
        values = [getattr(side, name) for side in expected]
        assert figures[title][:2] == [f'{value:.3f}' for value in values]
        assert figures[title][2] == f'{values[1] - values[0]:+.3f}'
    assert figures['mAP 50'][4] == 'A' and figures['top-1'][4] == '?'
    assert 'Against the labels A is better in mAP 50-95' in capsys.readouterr().out
    ap50 = {row[0]: row[6:] for row in cells(page, 'classes')[1:]}
    assert ap50['red'][0] == f'{expected[0].ap50["red"]:.3f}' and ap50['blue'][1] == '0.000'
    card = has_class(page, 'card')[0]
    assert len(list(card.iter('img'))) == 3 and float(card.get('data-gain')) < 0


def write_labelled(root, frames):
    """Write a split ``val`` in VOC layout of red and blue squares."""
    for folder in ('JPEGImages', 'Annotations', 'SegmentationClass', 'ImageSets/Main',
                   'ImageSets/Classification'):
        (root / folder).mkdir(parents=True)
    names = [f'{index:03d}' for index in range(frames)]
    for index, name in enumerate(names):
        squares = {'red': (16, 16 * (index % 3 + 1)), 'blue': (64, 48)}
        image = picture(**squares)
        cv2.imwrite(str(root / 'JPEGImages' / f'{name}.jpg'), image,
                    [cv2.IMWRITE_JPEG_QUALITY, 100])
        mask, objects = np.zeros(image.shape[:2], np.uint8), ''
        for class_id, (colour, (left, top)) in enumerate(squares.items(), 1):
            mask[top:top + 16, left:left + 16] = class_id
            # The weights' boxes are twice as large as the squares.
            objects += (f'<object><name>{colour}</name><bndbox><xmin>{left - 7}</xmin><ymin>'
                        f'{top - 7}</ymin><xmax>{left + 24}</xmax><ymax>{top + 24}</ymax>'
                        '</bndbox></object>')
        cv2.imwrite(str(root / 'SegmentationClass' / f'{name}.png'), mask)
        (root / 'Annotations' / f'{name}.xml').write_text(f'<annotation>{objects}</annotation>')
    (root / 'ImageSets' / 'Main' / 'val.txt').write_text('\n'.join(names))
    (root / 'ImageSets' / 'Classification' / 'val.csv').write_text(
        '\n'.join(['name,class', *(f'{name},dark' for name in names)]))
    return root


def write_bag(path, node='', engine=None, answered=range(4), labels=False):
    """Write a bag of four pictures, some of them answered by a node."""
    builder, types = bag_message_builder(CARD), bag_types()

    def header(index):
        stamp = START_NS + index * PERIOD_NS
        return types.types['std_msgs/msg/Header'](
            stamp=types.types['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9),
            frame_id='optical')
    with new_bag(path) as writer:
        def add(topic, kind):
            return writer.add_connection(topic, kind, typestore=types)
        camera = add('/camera/image_raw', IMAGE)
        outputs = {name: add(f'{node}/{name}', kind)
                   for name, kind in OUTPUT_TYPES.items()} if engine else {}
        if labels:
            for name, message in (('detections', builder.detection_labels(header(0), 0.3)),
                                  ('segmentation', builder.segmentation_labels(header(0)))):
                kind = 'vision_msgs/msg/LabelInfo'
                writer.write(add(f'{node}/{name}/label_info', kind), START_NS,
                             types.serialize_cdr(message, kind))
        for index, squares in enumerate(SEEN):
            image = picture(**squares)
            recorded_ns = START_NS + index * PERIOD_NS
            writer.write(camera, recorded_ns, types.serialize_cdr(
                builder.image(header(index), image, 'bgr8'), IMAGE))
            if engine and index in answered:
                for name, message in builder.answers(header(index), engine.infer(Frame(image))):
                    writer.write(outputs[name], recorded_ns + 20_000_000,
                                 types.serialize_cdr(message, OUTPUT_TYPES[name]))
    return path


def test_what_was_recorded_is_compared_with_new_weights(weights, half_blind, tmp_path):
    bag = write_bag(tmp_path / 'drive', '/perception', build_engine(half_blind), (0, 1, 3))
    assert run('recorded', weights, bag, tmp_path / 'page', '--apart', 0) == 0
    rows = read_table(tmp_path / 'page')
    assert [int(row['stamp_ns']) for row in rows] == [
        START_NS + index * PERIOD_NS for index in (0, 1, 3)]
    assert [(row['boxes_a'], row['boxes_b']) for row in rows] == [
        ('1', '1'), ('1', '2'), ('0', '1')]
    page = read_page(tmp_path / 'page')
    assert 'recorded by /perception' in text(page.find('.//h1'))
    assert '20.0 ms' in text(has_class(page, 'sides')[0])
    assert 'read as those of B' in text(has_class(page, 'note')[0])
    assert len(has_class(page, 'card')) == 2


def test_recorded_by_the_same_weights_is_the_same(weights, tmp_path, capsys):
    bag = write_bag(tmp_path / 'drive', '/robot/eyes', build_engine(weights), labels=True)
    assert run(weights, 'recorded', bag, tmp_path / 'page', '--node-name', '/robot/eyes') == 0
    assert 'say the same on all 4 frames' in capsys.readouterr().out
    assert has_class(read_page(tmp_path / 'page'), 'note') == []


def test_of_a_second_the_worst_frame_is_shown(weights, half_blind, tmp_path):
    bag = write_bag(tmp_path / 'drive')
    assert run(weights, half_blind, bag, tmp_path / 'page', '--apart', 60) == 0
    cards = has_class(read_page(tmp_path / 'page'), 'card')
    assert [card.get('id') for card in cards] == ['frame-3']


def test_a_video_is_compared(weights, half_blind, tmp_path):
    video = tmp_path / 'tour.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'MJPG'), 10, (128, 96))
    for squares in SEEN * 3:
        writer.write(picture(**squares))
    writer.release()
    assert run(weights, half_blind, video, tmp_path / 'page', '--max-frames', 6) == 0
    assert [row['name'] for row in read_table(tmp_path / 'page')] == [
        f'tour_{index:06d}' for index in range(6)]


def test_what_cannot_be_read_is_left_out_and_said(weights, half_blind, photos, tmp_path, capsys):
    folder = tmp_path / 'photos'
    folder.mkdir()
    (folder / 'a.png').write_bytes((photos / 'a.png').read_bytes())
    (folder / 'broken.jpg').write_bytes(b'no picture')
    assert run(weights, half_blind, folder, tmp_path / 'page') == 1
    assert 'broken.jpg' in capsys.readouterr().err
    assert 'broken.jpg' in text(has_class(read_page(tmp_path / 'page'), 'note')[0])


def no_answers(folder, weights):
    return ['recorded', weights, write_bag(folder / 'drive')]


def another_node(folder, weights):
    return ['recorded', weights, write_bag(folder / 'drive', '/front', build_engine(weights))]


def only_answers(folder, weights):
    path = folder / 'drive'
    kind = OUTPUT_TYPES['detections']
    with new_bag(path) as writer:
        connection = writer.add_connection('/perception/detections', kind, typestore=bag_types())
        message = bag_types().types[kind](
            header=bag_message_builder(CARD).types.Header(
                stamp=bag_types().types['builtin_interfaces/msg/Time'](0, 0), frame_id=''),
            detections=[])
        writer.write(connection, START_NS, bag_types().serialize_cdr(message, kind))
    return ['recorded', weights, path]


@pytest.mark.parametrize('make, expected', [
    (lambda folder, weights: [weights, weights, folder / 'nothing'], 'does not exist'),
    (lambda folder, weights: [weights, weights, folder], 'got none'),
    (lambda folder, weights: [weights, '/no/weights', folder], '/no/weights'),
    (lambda folder, weights: ['recorded', weights, folder], "one 'recorded' at most"),
    (lambda folder, weights: ['recorded', 'recorded', write_bag(folder / 'drive')], 'recorded'),
    (lambda folder, weights: [weights, weights, write_bag(folder / 'drive'), '--topic', '/rear'],
     '/camera/image_raw'),
    (lambda folder, weights: [weights, weights, write_squares(folder / 'data', 'train', 1)],
     "expected a split of [train], got 'test'"),
    (no_answers, 'expected predictions of /perception, got none'),
    (another_node, 'those of /front; name the node with --node-name'),
    (only_answers, 'expected a camera'),
])
def test_bad_input_ends_in_one_line_and_leaves_nothing(weights, tmp_path, capsys, make, expected):
    source = tmp_path / 'source'
    source.mkdir()
    first, second, path, *arguments = make(source, weights)
    assert run(first, second, path, tmp_path / 'page', *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith('error: ') and '\n' not in error and expected in error
    assert [item.name for item in tmp_path.iterdir()] == ['source']


def test_what_is_there_is_never_replaced(weights, photos, tmp_path, capsys):
    (tmp_path / 'page').mkdir()
    (tmp_path / 'page' / 'thesis.tex').write_text('years of work')
    assert run(weights, weights, photos, tmp_path / 'page') == 2
    assert 'new name' in capsys.readouterr().err
    (tmp_path / 'file').write_text('in the way')
    assert run(weights, weights, photos, tmp_path / 'file' / 'page') == 2
    error = capsys.readouterr().err.strip()
    assert 'cannot be written' in error and '\n' not in error
    assert sorted(item.name for item in tmp_path.iterdir()) == ['file', 'page']


def test_memory_holds_the_worst_pictures_only(weights, half_blind):
    """Of many frames the numbers stay, not the pictures."""
    shared = shared_classes(CARD.classes, CARD.classes)
    sides = [Side('', Translation(CARD.classes, shared.names), side, build_engine(side))
             for side in (weights, half_blind)]
    rng = np.random.default_rng(0)

    def shots(count):
        for index in range(count):
            image = picture(red=(16, 16), blue=(64, 48)) // 2
            image += rng.integers(0, 99, image.shape).astype(np.uint8)
            yield Shot('', Frame(image, index * 10**8))

    def peak(count):
        tracemalloc.start()
        run_comparison(shots(count), sides, CARD, shared, Worst(3, 0))
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    peak(10)
    assert peak(150) - peak(50) < 10 * picture().nbytes
